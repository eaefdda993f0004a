"""What the GPU makes of commands: order, barriers, residency, copies, clocks, captures."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_case import run, run_clean

RIGHT = 7.0  # ((1 * 2) + 1) * 2 + 1


@pytest.mark.parametrize("case", ["order_with_barriers", "order_when_serial"])
def test_what_is_ordered(case: str) -> None:
    assert run_clean(case).numbers("result") == [RIGHT] * 8


def test_what_is_not_ordered() -> None:
    """Without barriers the order is drawn from the seed: some of eight seeds shows it, and each
    always gives the same."""
    results = run_clean("order_without_barriers").numbers("result")
    assert set(results) != {RIGHT}
    assert results == run_clean("order_without_barriers").numbers("result")


def test_barrier_of_resources() -> None:
    assert run_clean("barrier_of_resources").number("result") == RIGHT


def test_missing_barrier_is_reported() -> None:
    report = run("race_without_barriers")
    assert report.number("result") == -1.0
    assert "barrier" in report.faults[0]
    assert report.faults[0].endswith("(seed 1)")


def test_barriers_are_seen_by_the_check() -> None:
    assert run_clean("no_race_with_barriers").number("result") == RIGHT


def test_out_of_bounds() -> None:
    """The command buffer fails, and the queue goes on."""
    report = run("out_of_bounds")
    (fault,) = report.faults
    assert fault.startswith("kernel beyond") and "out of bounds" in fault and "(seed " in fault
    assert report.said["status"] == ["5", "4"]
    assert report.text("error") == f"3 {fault}"


@pytest.mark.parametrize("case", ["resident_by_use", "resident_by_set"])
def test_addresses_of_resident_memory(case: str) -> None:
    assert run_clean(case).number("result") == 7.0


@pytest.mark.parametrize("case", ["not_resident", "set_not_committed", "removed_from_set"])
def test_addresses_of_other_memory(case: str) -> None:
    report = run(case)
    (fault,) = report.faults
    assert "through_address" in fault
    assert report.text("status") == "5"
    assert report.number("result") == 0.0


def test_residency_set() -> None:
    report = run_clean("resident_by_set")
    assert (report.number("count"), report.number("size")) == (1, 128)


def test_blits() -> None:
    assert run_clean("blits").numbers("value") == [1, 0, 5, 1]


def test_stamps_of_an_encoder() -> None:
    report = run_clean("stamps")
    assert [report.number(name) for name in ("in_order", "untouched", "clocks_differ")] == [1, 1, 1]


def test_stamps_of_dispatches() -> None:
    report = run_clean("stamps_at_dispatches")
    assert (report.number("supported"), report.number("stamped")) == (1, 1)


def test_invalid_samples() -> None:
    assert run_clean("no_samples").text("samples").startswith("1 a buffer of 0 samples")


def test_capture(tmp_path: Path) -> None:
    path = tmp_path / "a.gputrace"
    report = run_clean("capture", CAPTURE_PATH=str(path))
    assert (report.number("started"), report.number("capturing")) == (1, 1)
    assert (report.text("again")[0], report.text("exists")[0]) == ("2", "3")
    lines = (path / "log").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("capture start", "capture stop")
    dispatches = [line for line in lines if line.startswith(("dispatch", "commit "))]
    assert dispatches == ["dispatch twice of 2 grid 1,1,1 group 32,1,1 epoch 1", "commit 2"]


def test_captures_have_to_be_enabled() -> None:
    assert run_clean("capture_off").text("refused") == "1 captures are not enabled"


def test_log() -> None:
    report = run_clean("nothing_wrong")
    words = ["commands", "encoder", "dispatch", "barrier", "end", "commit", "completed"]
    assert report.events(*words) == [
        "commands 1 retained 1",
        "encoder of 1 concurrent 1",
        "dispatch axpy of 1 grid 2,1,1 group 32,1,1 epoch 1",
        "barrier of 1 epoch 2",
        "dispatch axpy of 1 grid 1,1,1 group 32,1,1 epoch 2",
        "end of 1",
        "commit 1",
        "completed 1",
    ]
    assert report.events("buffer") == [
        f"buffer {number} length 256 storage 0 copied 0" for number in (1, 2)
    ]
