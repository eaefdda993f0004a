"""What tests can plan: other machines, limits, and failures of allocations and command buffers."""

from __future__ import annotations

import pytest
from run_case import run_clean


def test_no_device() -> None:
    assert run_clean("no_gpu").number("device") == 0.0


def test_one_device() -> None:
    assert run_clean("same_device").number("same") == 1.0


@pytest.mark.parametrize(
    ("case", "apple8", "apple7", "metal3"),
    [("families", 1, 1, 1), ("old_gpu", 0, 0, 0), ("old_system", 1, 1, 0)],
)
def test_families(case: str, apple8: int, apple7: int, metal3: int) -> None:
    report = run_clean(case)
    assert [report.number(name) for name in ("apple8", "apple7", "metal3")] == [
        apple8,
        apple7,
        metal3,
    ]
    assert (report.number("apple6"), report.number("common3")) == (1, 1)


def test_limits() -> None:
    report = run_clean("limits")
    assert (report.number("buffer_length"), report.number("working_set")) == (1000, 5000)
    assert (report.number("allocated"), report.number("second")) == (1000, 0)
    assert report.number("freed") == 0


def test_storage_modes() -> None:
    report = run_clean("storage")
    assert (report.number("private_contents"), report.number("private_mode")) == (0, 2)
    assert (report.number("address"), report.number("copied")) == (1, 1)


def test_contents_of_new_buffers() -> None:
    assert run_clean("contents").numbers("value") == [-1, 0]


def test_workers() -> None:
    one, three = run_clean("workers").numbers("threads")
    assert three >= one + 1


def test_failing_allocation() -> None:
    assert run_clean("failing_allocation").numbers("made") == [1, 0, 1]


def test_refused_mapping() -> None:
    assert run_clean("refused_no_copy").number("made") == 0


def test_no_residency_sets() -> None:
    assert run_clean("no_residency_sets").text("set") == "1 this system has no residency sets"


def test_failing_commands() -> None:
    """The second fails after three of its five dispatches, and the third is not touched."""
    report = run_clean("failing_commands")
    assert report.said["status"] == ["4", "5", "4"]
    assert report.text("error").startswith("2 ")
    assert report.numbers("result") == [5, 8, 13]


def test_failing_at_the_end() -> None:
    report = run_clean("failing_after_all")
    assert report.text("error").startswith("8 ")
    assert report.number("result") == 5


def test_failing_kernel() -> None:
    """One that is not dispatched, one that is, and none."""
    report = run_clean("failing_kernel")
    assert report.said["status"] == ["4", "5", "4"]
    assert report.text("error") == "1 planned by softmetal_fail_kernel"
    assert report.numbers("result") == [5, 5, 10]


def test_kernels_off() -> None:
    report = run_clean("kernels_off")
    assert (report.text("status"), report.number("result")) == ("4", 0.0)
    assert len(report.events("dispatch")) == 5
    assert run_clean("nothing_wrong", SOFTMETAL_KERNELS="off").number("first") == 1.0


def test_states_of_encoders() -> None:
    """Completed, faulted, pending; with labels and signposts."""
    report = run_clean("encoder_states")
    assert report.said["encoder"] == ["first 1 here", "second 4 here", "third 3 here"]


def test_reset() -> None:
    report = run_clean("reset")
    assert [report.number(name) for name in ("apple8", "made", "faults")] == [1, 1, 0]
