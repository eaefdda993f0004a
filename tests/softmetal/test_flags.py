"""Compiler and folders are found, and what is missing is named in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from softmetal import flags


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What is found is remembered; these tests look again, and so do the ones after them."""
    cached = (flags.clang, flags.includes, flags.missing)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def fake_clang(folder: Path, name: str, version: int) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Some clang version {version}.1.7 (1)'\n")
    path.chmod(0o755)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = flags.missing()
    assert said is not None and "clang 19 or later" in said


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"clang": 14, "clang-19": 19}, "clang-19"),
        ({"clang": 21}, "clang"),
        ({"clang-20": 20, "clang-19": 19, "clang": 20}, "clang-19"),
        ({"clang": 14, "clang-19": 18}, None),
    ],
)
def test_choice_of_compiler(
    there: dict[str, int], chosen: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, version in there.items():
        fake_clang(tmp_path, name, version)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(shutil, "which", lambda name: found(tmp_path, name))
    if chosen is None:
        with pytest.raises(flags.MissingError, match="clang 19"):
            flags.clang()
    else:
        assert flags.clang() == str(tmp_path / chosen)


def found(folder: Path, name: str) -> str | None:
    return str(folder / name) if (folder / name).exists() else None


def test_no_foundation(monkeypatch: pytest.MonkeyPatch) -> None:
    if flags.missing():
        pytest.skip("there is no compiler whose folders could be looked for")
    flags.includes.cache_clear()
    flags.missing.cache_clear()
    monkeypatch.setattr(flags, "FOUNDATION", "Foundation/Absent.h")
    said = flags.missing()
    assert said is not None and "GNUstep's Foundation" in said
