"""`smelt info --system`: the facts, the reasons of every choice, and how they look."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from smelt import _cpu
from smelt.backends import metal
from smelt.cli.info_system import show_system
from smelt.system import describe_system

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing chosen from outside, and no GPU to be opened."""
    for name in ("SMELT_ISA", "SMELT_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(metal, "why_unavailable", lambda: "no GPU in this test")


def report_of(smelt: Run) -> dict[str, Any]:
    code, out, err = smelt("info", "--system", "--json")
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    return report


def test_instruction_sets_and_the_choice(smelt: Run) -> None:
    report = report_of(smelt)
    sets = {one["name"]: one for one in report["instruction_sets"]}
    assert list(sets) == _cpu.known_instruction_sets()
    here = [name for name, one in sets.items() if one["available"]]
    assert here == _cpu.instruction_sets()
    for one in sets.values():
        assert one["available"] == all(one["needs"].values())
        assert all(number >= 1 for number in one["tiles"].values())
    choice = report["choices"]["instruction_set"]
    assert choice["value"] == here[-1]
    assert "SMELT_ISA is not set" in choice["why"]


def test_a_forced_instruction_set(smelt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMELT_ISA", "scalar")
    report = report_of(smelt)
    choice = report["choices"]["instruction_set"]
    assert choice["value"] == "scalar"
    assert choice["why"] == f"SMELT_ISA=scalar; the widest here is {_cpu.instruction_sets()[-1]}"
    assert report["environment"]["SMELT_ISA"] == "scalar"
    _, out, _ = smelt("info", "--system")
    assert row(out, "scalar")[1] == "used"


def test_choices_that_cannot_be_had(smelt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told, not raised: who asks what is wrong wants all the rest too."""
    monkeypatch.setenv("SMELT_ISA", "mmx")
    monkeypatch.setenv("SMELT_DEVICE", "abacus")
    choices = report_of(smelt)["choices"]
    assert choices["instruction_set"]["value"] is None and choices["device"]["value"] is None
    assert "SMELT_ISA=mmx" in choices["instruction_set"]["why"]
    assert "'abacus' is not known" in choices["device"]["why"]
    code, out, _ = smelt("info", "--system")
    assert code == 0 and row(out, "device")[1] == "?"


def test_tables(smelt: Run) -> None:
    code, out, err = smelt("info", "--system")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles[0] == "what smelt uses here"
    assert {"machine", "instruction sets", "metal", "versions"} <= set(titles)
    assert all(line == line.rstrip() and line.isprintable() for line in lines)
    assert row(out, "not here") == ["not", "here", "no", "GPU", "in", "this", "test"]
    assert row(out, "compiler")[1:] == _cpu.compiler.split()


def row(out: str, begin: str) -> list[str]:
    """The cells, cut at spaces, of the line that begins so."""
    return next(line for line in out.splitlines() if line.startswith(f"  {begin}")).split()


def shown(capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    show_system(describe_system() | changes)
    return capsys.readouterr().out


def test_what_an_instruction_set_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    tiles = {"tile_tokens": 4, "tile_rows": 16, "dot_tokens": 2, "heads": 2}
    needs: dict[str, bool] = {}
    sets = []
    for name, feature, here in (("one", "A", True), ("two", "B", True), ("three", "C", False)):
        needs = needs | {feature: here}
        available = all(needs.values())
        sets.append({"name": name, "available": available, "needs": needs, "tiles": tiles})
    out = shown(capsys, instruction_sets=sets)
    assert [row(out, name)[1:] for name in ("one", "two", "three")] == [
        ["here", "4", "×", "16", "2", "2", "A"],
        ["here", "4", "×", "16", "2", "2", "B"],
        ["no", "4", "×", "16", "2", "2", "lacking", "here:", "C"],
    ]


@pytest.mark.parametrize(
    ("mode", "asked", "expected"),
    [
        ("always", True, "  for packed weights, 2.00 MiB: always given"),
        ("madvise", True, "  for packed weights, 2.00 MiB: madvise, and NumPy asks"),
        ("madvise", False, "  not for packed weights, 2.00 MiB: madvise, but NUMPY_MADVISE"),
        ("never", True, "  not for packed weights, 2.00 MiB: never"),
        (None, True, "  ?\n"),
    ],
)
def test_pages(
    capsys: pytest.CaptureFixture[str], mode: str | None, asked: bool, expected: str
) -> None:
    memory = {
        "bytes": 2**34,
        "limit_bytes": 2**30,
        "page_bytes": 16384,
        "huge_page_bytes": 2**21,
        "transparent_huge_pages": mode,
        "asked_for_huge_pages": asked,
    }
    out = shown(capsys, memory=memory)
    assert expected in out
    assert "16.00 GiB in pages of 16.00 KiB, of which this process may use 1.00 GiB" in out


def test_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = {
        "available": True,
        "name": "Apple M9",
        "apple_family": 11,
        "working_set_bytes": 2**34,
        "max_buffer_bytes": 2**33,
        "residency_sets": False,
        "from_source": False,
    }
    out = shown(capsys, metal=gpu)
    assert "Apple M9, Apple family 11" in out and "smelt.metallib" in out


@pytest.mark.parametrize("argv", [(), ("--system", "model.gguf"), ("--system", "--tensors")])
def test_wrong_usage(smelt: Run, argv: tuple[str, ...]) -> None:
    code, out, err = smelt("info", *argv)
    assert (code, out) == (2, "")
    assert "usage: smelt info" in err and "MODEL" in err.splitlines()[-1]


@pytest.mark.parametrize("columns", [100, 60])
def test_a_terminal_gets_lines_that_fit(spawn: Any, terminal: Any, columns: int) -> None:
    process = spawn("info", "--system", stdout=terminal.inside(columns))
    lines = terminal.read().replace("\x1b[1m", "").replace("\x1b[0m", "").split("\r\n")
    assert process.wait() == 0
    assert max(map(len, lines)) <= columns
