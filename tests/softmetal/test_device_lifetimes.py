"""Who keeps objects alive, what the GPU's thread does when, and what counts as a leak."""

from __future__ import annotations

import pytest
from run_case import run, run_clean


def test_retained_references() -> None:
    """A command buffer keeps what was encoded alive, until it is completed."""
    report = run_clean("retained")
    freed = [line.split()[0] for line in report.events("buffer_freed", "commit")]
    assert freed == ["commit", "buffer_freed", "buffer_freed"]


def test_released_before_commit() -> None:
    report = run("released_before_commit")
    *released, first, second, third = report.faults
    assert sorted(fault.split(" while")[0] for fault in released) == [
        "buffer 1 (128 bytes) is released",
        "buffer 2 (128 bytes) is released",
    ]
    assert [fault.split(" was released")[0] for fault in (first, second, third)] == [
        "commit: buffer 1 (128 bytes)",
        "commit: buffer 2 (128 bytes)",
        "commit: the pipeline of axpy",
    ]
    assert report.text("status") == "5"
    assert report.live == {}


def test_released_in_flight() -> None:
    report = run("released_in_flight")
    (fault,) = report.faults
    assert fault.startswith('buffer 1 "the result" (128 bytes) is released while the GPU uses it')
    assert report.text("error").startswith("9 Invalid Resource: buffer 1")
    assert report.live == {}


def test_commands_run_behind_the_host() -> None:
    report = run_clean("asynchronous")
    assert (report.number("before"), report.number("is_done")) == (1.0, 0.0)
    assert report.number("after") == 2.0


def test_order_of_enqueueing() -> None:
    assert run_clean("enqueue_order").number("result") == 3.0


def test_handlers() -> None:
    """Each sees its status, before waitUntilCompleted returns; the times are in order."""
    report = run_clean("handlers")
    assert (report.number("scheduled"), report.number("completed")) == (3.0, 4.0)
    assert report.number("in_order") == 1.0


def test_last_reference_on_the_gpus_thread() -> None:
    run_clean("released_by_a_handler")


@pytest.mark.parametrize(
    ("case", "left"),
    {
        "leaked_buffer": {"SoftBuffer": 1, "SoftDevice": 1},
        "leaked_commands": {"SoftCommands": 1, "SoftQueue": 1, "SoftDevice": 1},
        "leaked_options": {"MTLCompileOptions": 1},
    }.items(),
)
def test_leaks_are_counted(case: str, left: dict[str, int]) -> None:
    report = run(case)
    assert (report.faults, report.live) == ([], left)


def test_buffer_without_copy() -> None:
    report = run_clean("no_copy")
    assert report.number("same") == 1.0
    assert report.number("result") == 42.0
    assert report.number("freed") == 8192.0
