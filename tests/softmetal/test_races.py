"""Reads of what nobody wrote, and accesses that no barrier orders: in a threadgroup, between
threadgroups, between dispatches."""

import re

import numpy as np
import pytest
from planted import BARRIER, CHECKED, FAST, assert_at, fault, library, needs_clang, run

from softmetal.msl import Buffer, MslError

pytestmark = needs_clang


def test_reads_of_unwritten_threadgroup_memory() -> None:
    body = f"if (t != 9) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];"
    text = fault(body)
    assert_at(text, 4, 9)
    assert (
        "reads threadgroup memory that nobody wrote" in text and "byte 36 of threadgroup(0)" in text
    )


def test_unwritten_threadgroup_memory_is_poison_in_fast_mode() -> None:
    y = run(f"if (t != 9) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];", FAST)
    assert np.isnan(y[9]) and np.isfinite(np.delete(y, 9)).all()


def test_threadgroup_memory_does_not_outlive_a_threadgroup() -> None:
    text = fault(f"if (g == 0) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];", groups=2)
    assert_at(text, 4, group=1)
    assert "nobody wrote" in text


FILL = f"shared[t] = 0; {BARRIER}\n"


# Bodies, the line and the words of the report: what comes second there, and what came first.
MIRROR = FILL + "shared[t] = 1;\n{};\ny[t] = shared[63 - t];"
RACES = {
    "no barrier": (MIRROR.format(""), 3, "writes", "read"),
    "mem_none": (MIRROR.format("threadgroup_barrier(mem_flags::mem_none)"), 5, "reads", "wrote"),
    "device barrier": (
        MIRROR.format("threadgroup_barrier(mem_flags::mem_device)"), 5, "reads", "wrote"
    ),
    "barrier of a SIMD group": (
        MIRROR.format("simdgroup_barrier(mem_flags::mem_threadgroup)"), 3, "writes", "read"
    ),
    "threadgroup barrier": (f"y[t] = 1;\n{BARRIER}\ny[63 - t] += 1;", 4, "reads", "wrote"),
    "one place": ("shared[0] = t;\n", 2, "writes", "wrote"),
    "one place in device memory": ("y[t / 2] = 1;", 2, "writes", "wrote"),
    "read, then written": (
        FILL + "y[t] = shared[0];\nif (t == 9) shared[0] = 2;", 4, "writes", "read"
    ),
    "stored matrix": (
        FILL + "simdgroup_float8x8 m(1.0f);\nsimdgroup_store(m, shared);\ny[t] = shared[t];",
        4, "writes", "read"
    ),
}  # fmt: skip


@pytest.mark.parametrize("race", RACES)
def test_data_race_inside_a_threadgroup(race: str) -> None:
    body, line, then, first = RACES[race]
    text = fault(body)
    assert_at(text, line)
    assert re.search(rf"data race: {then} \d+ bytes .* {first}, with no barrier between", text), (
        text
    )


ORDERED = {
    "barrier": f"shared[t] = 1;\n{BARRIER}\ny[t] = shared[63 - t];",
    "device barrier": "y[t] = 1;\nthreadgroup_barrier(mem_flags::mem_device);\ny[63 - t] += 1;",
    "barrier of a SIMD group": (
        "shared[t] = 1;\nsimdgroup_barrier(mem_flags::mem_threadgroup);\ny[t] = shared[t ^ 31];"
    ),
    "reads only": "y[t] = x[0];",
    "loop": (
        f"for (int i = 0; i < 3; i++) {{ shared[t] = i; {BARRIER}\n"
        f"y[t] = shared[t ^ 1]; {BARRIER} }}"
    ),
    "matrix": (
        "simdgroup_float8x8 m(1.0f);\nif (group == 0) simdgroup_store(m, shared);\n"
        f"{BARRIER}\ny[t] = shared[t];"
    ),
}


@pytest.mark.parametrize("body", ORDERED.values(), ids=ORDERED)
def test_no_race_is_reported_where_there_is_none(body: str) -> None:
    run(body)


def test_halves_side_by_side_are_no_race() -> None:
    parameters = "device half *y [[buffer(0)]], uint t [[thread_index_in_threadgroup]]"
    y = np.zeros(33, np.float16)
    library("y[t] = half(t);", CHECKED, parameters).run("k", {0: y}, 1, 33)
    assert np.array_equal(y, np.arange(33))


def test_atomics_are_no_race_and_plain_accesses_beside_them_are() -> None:
    parameters = "device atomic_uint *n [[buffer(0)]], device uint *y [[buffer(1)]]"
    add = "atomic_fetch_add_explicit(&n[0], 2u, memory_order_relaxed);"
    n, y = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    library(add, CHECKED, parameters).run("k", {0: n, 1: y}, 3, 40)
    assert n[0] == 240
    with pytest.raises(MslError, match=r"data race: updates 4 bytes .* read, with no barrier"):
        library(
            f"{add}\nuint v = ((device uint *)n)[0]; if (v) y[0] = 1;", CHECKED, parameters
        ).run("k", {0: n, 1: y}, 1, 40)


def test_atomics_in_threadgroup_memory() -> None:
    """A store is a first write; an update of what nobody stored is a read of it."""
    parameters = "device uint *y [[buffer(0)]], uint t [[thread_index_in_threadgroup]]"
    body = f"""threadgroup atomic_uint n[2];
if (t < START) atomic_store_explicit(&n[t], 0u, memory_order_relaxed);
{BARRIER}
atomic_fetch_add_explicit(&n[t % 2], 3u, memory_order_relaxed);
{BARRIER}
if (t < 2) y[t] = atomic_load_explicit(&n[t], memory_order_relaxed);"""
    y = np.zeros(2, np.uint32)
    library(body.replace("START", "2"), CHECKED, parameters).run("k", {0: y}, 1, 40)
    assert y.tolist() == [60, 60]
    with pytest.raises(MslError, match="nobody wrote: updates 4 bytes at byte 4") as caught:
        library(body.replace("START", "1"), CHECKED, parameters).run("k", {0: y}, 1, 40)
    assert_at(str(caught.value), 5)


def test_data_race_between_threadgroups() -> None:
    text = fault("y[t] = 1;", groups=2)
    assert_at(text, 2, 0, 1)
    assert "data race: writes 4 bytes at byte 0 of buffer(0) 'y'" in text
    assert "which threadgroup (0, 0, 0) wrote" in text


def test_missing_barrier_between_dispatches() -> None:
    kernel = library("y[t] = x[63 - t];", CHECKED)
    a, b, c = (Buffer(np.zeros(64, np.float32)) for _ in range(3))

    def step(target: Buffer, origin: Buffer, epoch: int) -> None:
        kernel.run("k", {0: target, 1: origin}, 1, 64, threadgroup={0: 16}, epoch=epoch)

    step(b, a, 1)
    step(c, b, 2)  # a barrier lies between
    step(b, a, 3)
    with pytest.raises(
        MslError, match="missing barrier between dispatches: reads 4 bytes"
    ) as caught:
        step(c, b, 3)
    assert "which kernel k (dispatch" in str(caught.value) and "wrote since the last one" in str(
        caught.value
    )
    step(c, a, 4)
    with pytest.raises(MslError, match="missing barrier between dispatches: writes 4 bytes"):
        step(a, b, 4)
