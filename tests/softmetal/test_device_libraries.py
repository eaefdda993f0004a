"""Libraries from source and from files, function constants, pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_case import run, run_clean


def test_compile_options() -> None:
    report = run_clean("macros")
    assert (report.number("fast_math"), report.number("safe_math")) == (1, 1)
    assert report.text("function") == "chosen"
    assert report.events("library") == [
        "library functions 1 from_source 1 fast_math 0 language 196608"
    ]


@pytest.mark.parametrize(
    ("case", "mode", "status"),
    [
        ("mode_of_environment", "fast", "4"),
        ("mode_of_environment", "checked", "5"),
        ("mode_checked", "fast", "5"),
    ],
)
def test_mode(case: str, mode: str, status: str) -> None:
    """A read below a binding, within its buffer: only checked kernels report it."""
    report = run(case, SOFTMETAL_MODE=mode)
    assert report.text("status") == status
    assert len(report.faults) == (status == "5")


def test_compile_error() -> None:
    code, said = run_clean("no_compile").text("refused").split(maxsplit=1)
    assert code == "3"
    assert "nothing" in said


def test_new_language_on_an_old_system() -> None:
    assert run_clean("new_language").text("refused").startswith("1 ")


def test_missing_file() -> None:
    report = run_clean("no_file")
    assert (report.number("made"), report.text("refused")[0]) == (0, "6")


def test_library_of_a_file(tmp_path: Path) -> None:
    report = run_clean("file", LIBRARY_PATH=str(tmp_path / "own.metallib"))
    assert (report.number("written"), report.number("result")) == (1, 9)


def test_missing_function() -> None:
    report = run_clean("no_function")
    assert (report.number("plain"), report.number("specialised")) == (0, 0)
    assert report.text("refused") == "5 there is no function absent"


def test_missing_constant() -> None:
    """It is named; a kernel that does not use it is not concerned."""
    report = run_clean("constant_missing")
    code, said = report.text("refused").split(maxsplit=1)
    assert code == "3"
    assert "has_z" in said
    assert report.number("other") == 1


def test_missing_constants_of_a_plain_function() -> None:
    report = run_clean("constants_missing_from_pipeline")
    assert (report.number("function"), report.number("pipeline")) == (1, 0)
    assert "factor" in report.text("refused")


def test_constant_of_another_type() -> None:
    assert "constant 0, bias, has another type" in run_clean("constant_of_another_type").text(
        "refused"
    )


def test_list_of_constants() -> None:
    report = run_clean("constants_listed")
    assert report.said["constant"] == ["bias 0 29", "factor 2 3", "has_z 1 53"]


def test_values_of_constants() -> None:
    """By index, by range and by name; an argument that a constant makes present."""
    report = run_clean("constants_used")
    assert report.said["label"] == ["axpy", "scaled"]
    assert report.number("result") == 186.0  # (2 * 10 + 1 + 3 + 100) * 1.5


def test_facts_of_a_pipeline() -> None:
    report = run_clean("pipeline_facts")
    assert [report.number(name) for name in ("threads", "narrow", "width", "static")] == [
        1024,
        64,
        32,
        0,
    ]
