"""The package as a whole: what importing it costs, what it exports, and that all of it is said."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import smelt

HEAVY = ["numpy", "sentencepiece", "tokenizers", "rich", "google.protobuf", "jinja2", "matplotlib"]
OUR_OWN = ["smelt._cpu", "smelt._gguf", "smelt._quant", "smelt.engine", "smelt.cli"]
ROOT = Path(__file__).resolve().parents[1]


def in_a_process(code: str) -> str:
    """Printed by a fresh interpreter that finds the same smelt."""
    found = f"import sys; sys.path.insert(0, {str(Path(smelt.__file__).parents[1])!r})\n"
    command = [sys.executable, "-c", found + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def modules() -> list[str]:
    """Every importable module of the package but the one that runs the command line."""
    names = [m.name for m in pkgutil.walk_packages(smelt.__path__, "smelt.")]
    return ["smelt", *(name for name in names if name != "smelt.__main__")]


def test_import_is_light() -> None:
    code = "import smelt; print(*sys.modules, sep='\\n')"
    loaded = set(in_a_process(code).split())
    assert "smelt.errors" in loaded
    assert not loaded & {*HEAVY, *OUR_OWN}


@pytest.mark.parametrize(
    "module", ["smelt.errors", "smelt.config", "smelt.model", "smelt.cli", "smelt.gguf_file"]
)
def test_the_command_line_begins_light(module: str) -> None:
    code = f"import {module}; print(*sys.modules, sep='\\n')"
    assert not set(in_a_process(code).split()) & {*HEAVY}


def test_a_missing_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Motor"):
        smelt.Motor  # noqa: B018


def test_all_names_resolve() -> None:
    code = "import smelt\nfor name in smelt.__all__: print(getattr(smelt, name).__name__)"
    assert in_a_process(code).split() == smelt.__all__ == sorted(smelt.__all__)


def test_the_errors_are_one_family() -> None:
    errors = [n for n in smelt.__all__ if n.endswith("Error")]
    assert {*errors} == {*importlib.import_module("smelt.errors").__all__}
    assert all(issubclass(getattr(smelt, name), smelt.SmeltError) for name in errors)


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__.strip()
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    assert all(hasattr(module, each) for each in exported)


def public(module: ModuleType) -> list[tuple[str, object]]:
    """Public functions and classes that a module itself defines."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]


EXPORTED = [
    (name, each)
    for name in modules()
    for each in getattr(importlib.import_module(name), "__all__", [])
]


@pytest.mark.parametrize(("module", "name"), EXPORTED)
def test_what_is_exported_has_a_docstring(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return  # a constant
    assert value.__doc__ and value.__doc__.strip()
    # dataclasses make one up of their fields
    assert not value.__doc__.startswith(f"{name}(")


@pytest.mark.parametrize("name", smelt.__all__)
def test_every_method_of_the_api_has_a_docstring(name: str) -> None:
    for method, value in vars(getattr(smelt, name)).items():
        plain = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
        if not method.startswith("_") and inspect.isfunction(plain):
            assert inspect.getdoc(plain), f"{name}.{method}"


def test_every_error_says_when_it_is_raised() -> None:
    documented = {value.__doc__ for _, value in public(importlib.import_module("smelt.errors"))}
    assert None not in documented and len(documented) == len(smelt.errors.__all__)


def test_one_version() -> None:
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert stated and stated[1] == smelt.__version__
    try:
        installed = metadata.version("smelt")
    except metadata.PackageNotFoundError:
        pytest.skip("smelt runs from its sources: there is no installed version")
    assert installed == smelt.__version__


def test_types_are_shipped() -> None:
    assert (Path(smelt.__file__).parent / "py.typed").exists()


def test_every_extension_has_a_stub() -> None:
    folder = Path(smelt.__file__).parent
    extensions = {path.name.split(".")[0] for path in folder.glob("_*.so")}
    assert extensions >= {"_cpu", "_gguf", "_quant"}
    assert all((folder / f"{name}.pyi").exists() for name in extensions)
