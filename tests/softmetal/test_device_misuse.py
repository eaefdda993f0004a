"""Every mistake that Apple's validation stops at is reported, in words that name it."""

from __future__ import annotations

import pytest
from run_case import run, run_clean

FAILED, INVALID_RESOURCE = "5", "9"

# By case: the fault, and whether its command buffer fails when it is committed.
MISTAKES = {
    "no_pipeline": ("no pipeline is set", True),
    "dispatch_after_end": ("dispatchThreadgroups: the encoder has ended", False),
    "end_twice": ("endEncoding: the encoder has ended", False),
    "never_ended": ("released before endEncoding", False),
    "commit_before_end": ("commit: an encoder has not ended", True),
    "commit_twice": ("commit: the command buffer is committed already", False),
    "encode_after_commit": ("computeCommandEncoder: the command buffer is committed", False),
    "two_encoders_at_once": ("the encoder before it has not ended", True),
    "wait_before_commit": ("waitUntilCompleted: the command buffer is not committed", False),
    "handler_after_commit": ("addCompletedHandler: the command buffer is committed", False),
    "too_many_uncommitted": ("has 3 command buffers, none of them committed", False),
    "buffer_at_31": ("setBuffer: index 31", True),
    "bytes_at_31": ("setBytes: index 31", True),
    "offset_at_31": ("setBufferOffset: index 31", True),
    "several_to_31": ("setBuffers: index 31", True),
    "threadgroup_at_31": ("setThreadgroupMemoryLength: index 31", True),
    "too_many_bytes": ("setBytes: 4097 bytes at index 0", True),
    "no_bytes": ("setBytes: 0 bytes at index 0", True),
    "offset_at_the_end": ("setBuffer: offset 32 at index 1 is not below the length", True),
    "later_offset_at_the_end": ("setBufferOffset: offset 256 at index 1", True),
    "offset_of_nothing": ("setBufferOffset: no buffer is bound at index 7", True),
    "offset_of_bytes": ("setBufferOffset: no buffer is bound at index 0", True),
    "misaligned_constant": ("axpy: the offset 2 of buffer 0, a, is no multiple of 4", True),
    "misaligned_device": ("axpy: the offset 6 of buffer 2, y, is no multiple of 4", True),
    "misaligned_vector": ("widen: the offset 8 of buffer 1, y, is no multiple of 16", True),
    "unbound": ("axpy: nothing is bound at buffer 1, x", True),
    "conditional_buffer_unbound": ("axpy: nothing is bound at buffer 3, z", True),
    "struct_too_small": ("buffer 0, w, has 16 bytes from its offset and needs 32", True),
    "bytes_where_it_writes": ("setBytes at buffer 2, y, which the kernel may write", True),
    "barrier_of_nothing": ("memoryBarrierWithScope: scope 0", True),
    "group_not_popped": ("1 debug groups were pushed and not popped", True),
    "group_not_pushed": ("popDebugGroup: no group was pushed", True),
    "no_resource": ("useResource: nil", True),
    "nil_pipeline": ("setComputePipelineState: nil", True),
    "no_threadgroups": ("twice: a grid of (0, 1, 1) threadgroups of (32, 1, 1)", True),
    "no_threads": ("twice: a grid of (1, 1, 1) threadgroups of (0, 1, 1)", True),
    "too_many_threads": ("(1025, 1, 1) threads a threadgroup; its pipeline takes 1024", True),
    "too_many_for_the_kernel": ("(65, 1, 1) threads a threadgroup; its pipeline takes 64", True),
    "uneven_threads": ("(100, 1, 1) threads in threadgroups of (32, 1, 1)", True),
    "no_threadgroup_memory": ("threadgroup memory 0, shared, has 0 bytes and needs 4", True),
    "odd_threadgroup_memory": ("setThreadgroupMemoryLength: 257 bytes", True),
    "too_much_threadgroup_memory": ("setThreadgroupMemoryLength: 32784 bytes", True),
    "too_much_together": ("with_two: 32800 bytes of threadgroup memory", True),
    "broken_promise": (
        "48 threads a threadgroup; its pipeline was promised a multiple of 32",
        True,
    ),
    "above_the_limit": ("1001 bytes are more than maxBufferLength, 1000", False),
    "empty_buffer": ("newBufferWithLength: a buffer of no bytes", False),
    "private_bytes": ("newBufferWithBytes: the storage mode cannot be private", False),
    "no_copy_address": ("the address 0x1010 and the length 4096 have to be multiples", False),
    "no_copy_length": ("the address 0x1000 and the length 4097 have to be multiples", False),
    "copy_beyond": ("copyFromBuffer: 68 bytes from 64", True),
    "copy_odd": ("copyFromBuffer: offsets 1 and 0 and size 8 have to be multiples of 4", True),
    "copy_overlapping": ("copyFromBuffer: source and destination overlap", True),
    "fill_beyond": ("fillBuffer: 8 bytes from 124", True),
    "stamp_beyond": ("there is no sample 3", True),
    "resolve_beyond": ("resolveCounterRange: samples 1 to 3 of 2", False),
    "stamps_at_dispatches_unsupported": ("samples at the borders of encoders only", True),
    "capture_not_started": ("stopCapture: no capture was started", False),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake(case: str) -> None:
    fault, fails = MISTAKES[case]
    report = run(case)
    assert fault in report.faults[0]
    assert report.live == {}
    if fails:
        assert report.text("status") == FAILED
        code, said = report.text("error").split(maxsplit=1)
        assert (code, said) == (INVALID_RESOURCE, report.faults[0])


@pytest.mark.parametrize(
    "case",
    [
        "nothing_wrong",
        "never_committed",
        "most_bytes",
        "several_buffers",
        "groups_paired",
        "most_threads",
        "threadgroup_memory",
        "most_threadgroup_memory",
        "two_threadgroup_memories",
    ],
)
def test_right_use(case: str) -> None:
    """What lies just inside the limits."""
    report = run_clean(case)
    assert report.said.get("status", ["4"]) == ["4"]


def test_results() -> None:
    report = run_clean("nothing_wrong")
    assert (report.number("first"), report.number("last")) == (7.0, 13.0)


def test_threads_of_a_descriptor() -> None:
    assert run("broken_promise").number("most") == 128


def test_offsets() -> None:
    assert run_clean("aligned").number("result") == 9.0


def test_a_mistake_raises() -> None:
    report = run("raised")
    assert report.text("caught") == "newBufferWithLength: a buffer of no bytes"


def test_a_mistake_aborts() -> None:
    """The default, as with Apple's validation."""
    report = run("aborted", SOFTMETAL_FAULTS="")
    assert "newBufferWithLength: a buffer of no bytes" in report.stderr
    assert report.returncode == -6
    assert "still" not in report.said
