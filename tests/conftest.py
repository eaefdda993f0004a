"""Fixtures that more than one test module uses."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_engine import SMALL
from smelt import Engine
from tiny_model import write_tiny_llama

# Shells start background jobs with SIGINT ignored, which is inherited; tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where a test names no device, it is about the Engine and counts on the CPU's bits, which depend on
# no batch and no chunk; on a Mac "auto" would be the GPU.
os.environ.setdefault("SMELT_DEVICE", "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files whose tests compile for minutes come first: at the end, one worker would be at them
    alone. (xdist would begin with the files of most tests: pyproject.toml says not to.)"""
    items.sort(key=lambda item: item.path.parent.name != "native")


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, vocabularies and another engine's answers, if it is there."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared folder beside this checkout: real models and oracles are absent")
    return SHARED


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model of small_engine.py."""
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", **SMALL)


@pytest.fixture(scope="session")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with six layers: a step of 1,024 tokens is some 100 milliseconds in forty ops."""
    options = SMALL | {"n_layers": 6, "n_ctx": 1024}
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "slow.gguf", **options)


@pytest.fixture(scope="module")
def engine(path: Path) -> Iterator[Engine]:
    """One for all tests of a module: what it has evaluated stays in its cache."""
    with Engine(path, threads=2) as engine:
        yield engine


@pytest.fixture
def fresh(path: Path) -> Iterator[Engine]:
    with Engine(path, threads=1) as engine:
        yield engine
