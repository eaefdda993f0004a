"""Each fault that the software GPU reports, planted in a kernel and seen reported with its place."""

import ctypes
import faulthandler
import os
import re
import signal

import numpy as np
import pytest

from softmetal.msl import Buffer, Library, MslError, available, unavailable_reason

pytestmark = pytest.mark.skipif(not available, reason=unavailable_reason)

FAST, CHECKED = False, True
BOTH = pytest.mark.parametrize("checked", [FAST, CHECKED], ids=["fast", "checked"])

HEAD = '#include <metal_stdlib>\nusing namespace metal;\n#line 1 "planted.metal"\n'
PARAMETERS = (
    "device float *y [[buffer(0)]], device const float *x [[buffer(1)]], "
    "threadgroup float *shared [[threadgroup(0)]], uint t [[thread_index_in_threadgroup]], "
    "uint g [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]], "
    "uint group [[simdgroup_index_in_threadgroup]]"
)
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def library(body: str, checked: bool, parameters: str = PARAMETERS) -> Library:
    """One kernel, k; its body begins on line 2 of planted.metal."""
    return Library(f"{HEAD}kernel void k({parameters}) {{\n{body}\n}}\n", checked=checked)


def run(body: str, checked: bool = CHECKED, threads: int = 64, groups: int = 1, n: int = 64) -> np.ndarray:
    y, x = np.zeros(n, np.float32), np.arange(n, dtype=np.float32)
    library(body, checked).run("k", {0: y, 1: x}, groups, threads, threadgroup={0: 512})
    return y


def fault(body: str, checked: bool = CHECKED, **sizes: int) -> str:
    with pytest.raises(MslError) as caught:
        run(body, checked, **sizes)
    return str(caught.value)


def at(text: str, line: int, thread: int | None = None, group: int = 0) -> None:
    """Asserts that a report names the kernel, the line, the thread and the threadgroup."""
    assert text.startswith("kernel k"), text
    assert f"planted.metal:{line}" in text, text
    number = r"\d+" if thread is None else str(thread)
    assert re.search(rf"thread \({number}, 0, 0\) of threadgroup \({group}, 0, 0\)", text), text


@BOTH
def test_correct_kernel_passes(checked: bool) -> None:
    body = f"shared[t] = x[t];\n{BARRIER}\ny[t] = shared[63 - t] + simd_sum(1.0f);"
    assert np.array_equal(run(body, checked), 63 - np.arange(64) + 32)


@BOTH
@pytest.mark.parametrize(
    ("body", "verb", "where", "byte"),
    [
        ("y[t + 1] = 1;", "writes", "buffer(0) 'y' (256 bytes)", 256),
        ("y[t] = x[t + 1];", "reads", "buffer(1) 'x' (256 bytes)", 256),
        ("if (t == 5) y[(int)t - 6] = 1;", "writes", "buffer(0) 'y' (256 bytes)", -4),
    ],
    ids=["write beyond", "read beyond", "write before"],
)
def test_out_of_bounds(body: str, verb: str, where: str, byte: int, checked: bool) -> None:
    if byte < 0 and not checked:
        pytest.skip("a guard page lies before a buffer's first page, not before its first byte")
    text = fault(body, checked)
    at(text, 2, 5 if byte < 0 else 63)
    assert f"out of bounds: {verb}" in text and f"at byte {byte} of {where}" in text


def test_out_of_bounds_is_exact_to_the_byte() -> None:
    parameters = "device uchar *y [[buffer(0)]], uint t [[thread_index_in_threadgroup]]"
    good, bad = (library(f"y[t + {i}] = 1;", CHECKED, parameters) for i in (0, 1))
    y = np.zeros(13, np.uint8)
    good.run("k", {0: y}, 1, 13)
    assert y.all()
    with pytest.raises(MslError, match="writes 1 byte at byte 13 of buffer"):
        bad.run("k", {0: y}, 1, 13)


def test_an_access_is_checked_to_its_last_byte() -> None:
    parameters = "device float4 *y [[buffer(0)]], uint t [[thread_index_in_threadgroup]]"
    with pytest.raises(MslError, match="out of bounds: writes 16 bytes at byte 16"):
        library("y[t] = 1;", CHECKED, parameters).run("k", {0: np.zeros(7, np.float32)}, 1, 2)


def test_a_matrix_is_loaded_within_bounds() -> None:
    body = "simdgroup_float8x8 m;\nsimdgroup_load(m, x + 1);\nsimdgroup_store(m, y);"
    text = fault(body, threads=32)
    at(text, 3, 0)
    assert "out of bounds: reads" in text and "buffer(1) 'x'" in text


def test_memory_behind_an_address_has_to_be_resident() -> None:
    parameters = "device float *const device *p [[buffer(0)]], device float *y [[buffer(1)]]"
    kernel = library("y[0] = p[0][3];", CHECKED, parameters)
    values, y = Buffer(np.arange(4, dtype=np.float32)), np.zeros(1, np.float32)
    table = np.array([values.address], np.uint64)
    kernel.run("k", {0: table, 1: y}, 1, 1, resident=[values])
    assert y[0] == 3
    with pytest.raises(MslError, match="out of bounds: reads 4 bytes"):
        kernel.run("k", {0: table, 1: y}, 1, 1)


@BOTH
def test_unbound_buffer(checked: bool) -> None:
    with pytest.raises(MslError, match=r"kernel k \(planted.metal:1\): buffer\(1\) 'x' is not bound"):
        library("y[t] = x[t];", checked).run(
            "k", {0: np.zeros(8, np.float32)}, 1, 8, threadgroup={0: 16}
        )


@BOTH
def test_buffer_shorter_than_its_argument(checked: bool) -> None:
    parameters = "constant int4 &args [[buffer(0)]], device int *y [[buffer(1)]]"
    kernel = library("y[0] = args.w;", checked, parameters)
    kernel.run("k", {0: bytes(16), 1: np.zeros(1, np.int32)}, 1, 1)
    with pytest.raises(MslError, match="'args' has 12 bytes, and the kernel takes 16 by reference"):
        kernel.run("k", {0: bytes(12), 1: np.zeros(1, np.int32)}, 1, 1)


@BOTH
def test_conditional_buffers_are_wanted_only_when_present(checked: bool) -> None:
    text = f"""{HEAD}
    constant bool SPLIT [[function_constant(3)]];
    constant bool WHOLE = !SPLIT;
    kernel void k(device int *y [[buffer(0)]], device int *part [[buffer(1), function_constant(SPLIT)]],
                  device int *whole [[buffer(2), function_constant(WHOLE)]])
    {{ y[0] = 1; if (SPLIT) part[0] = 2; else whole[0] = 3; }}"""
    kernel = Library(text, checked=checked)
    y, part, whole = (np.zeros(1, np.int32) for _ in range(3))
    kernel.run("k", {0: y, 1: part}, 1, 1, constants={"SPLIT": True})
    kernel.run("k", {0: y, 2: whole}, 1, 1, constants={3: False})
    assert (y[0], part[0], whole[0]) == (1, 2, 3)
    with pytest.raises(MslError, match=r"buffer\(2\) 'whole' is not bound"):
        kernel.run("k", {0: y, 1: part}, 1, 1, constants={"SPLIT": False})
    with pytest.raises(MslError, match="uses the function constant 'SPLIT'.*no value"):
        kernel.run("k", {0: y, 1: part}, 1, 1)


@BOTH
def test_threadgroup_memory_has_to_be_given(checked: bool) -> None:
    with pytest.raises(MslError, match=r"threadgroup\(0\) 'shared' has no length"):
        library("y[t] = 1;", checked).run("k", {0: bytes(4), 1: bytes(4)}, 1, 1)


@BOTH
def test_threadgroup_memory_beyond_the_limit(checked: bool) -> None:
    kernel = library("y[t] = 1;", checked)
    kernel.run("k", {0: bytes(4), 1: bytes(4)}, 1, 1, threadgroup={0: 32768})
    with pytest.raises(MslError, match="32784 bytes of threadgroup memory exceed the limit of 32768"):
        kernel.run("k", {0: bytes(4), 1: bytes(4)}, 1, 1, threadgroup={0: 32784})


@BOTH
def test_threadgroup_variables_beyond_the_limit(checked: bool) -> None:
    text = fault("threadgroup float big[8192 - 127];\nbig[t] = x[t];", checked)
    at(text, 2)
    assert "32784 bytes of threadgroup memory exceed the limit of 32768" in text


@BOTH
def test_too_many_threads(checked: bool) -> None:
    assert "1025 threads a threadgroup; this kernel's limit is 1024" in fault("y[0] = 1;", checked, threads=1025)
    limited = Library(
        HEAD + "[[max_total_threads_per_threadgroup(64)]] kernel void k(device int *y [[buffer(0)]]) { y[0] = 1; }",
        checked=checked,
    )
    with pytest.raises(MslError, match="65 threads a threadgroup; this kernel's limit is 64"):
        limited.run("k", {0: bytes(4)}, 1, 65)


@BOTH
@pytest.mark.parametrize(
    ("body", "thread"),
    [
        (f"if (t < 20)\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t < 32)\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t >= 32) return;\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t == 40) return;\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t < 32) {{\n{BARRIER} }} else {{\n\n{BARRIER} }}\ny[t] = 1;", None),
    ],
    ids=["some lanes", "one SIMD group", "one SIMD group ended", "one lane ended", "different barriers"],
)
def test_divergent_barrier(body: str, thread: int | None, checked: bool) -> None:
    text = fault(body, checked)
    at(text, 3, thread)
    assert "divergent barrier" in text


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        "if (lane < 7)\ny[t] = simd_sum(1.0f);",
        "if (lane == 31) return;\ny[t] = simd_max(x[t]);",
        "if (lane & 1)\ny[t] = simd_sum(1.0f); else y[t] = simd_max(1.0f);",
        "for (uint i = 0; i <= lane; i++)\ny[t] = simd_shuffle_xor(x[t], 1);",
        f"if (lane & 1)\ny[t] = simd_sum(1.0f); else\n{BARRIER}",
    ],
    ids=["not all lanes", "an ended lane", "different operations", "different numbers", "and a barrier"],
)
def test_divergent_simd_operation(body: str, checked: bool) -> None:
    text = fault(body, checked)
    at(text, 3)
    assert "divergent" in text


@BOTH
def test_divergent_matrix_operation(checked: bool) -> None:
    body = (
        "simdgroup_float8x8 m(1.0f);\nif (lane < 31)\nsimdgroup_store(m, y);\n"
        "simdgroup_barrier(mem_flags::mem_device);"
    )
    text = fault(body, checked, threads=32)
    assert "divergent SIMD operation" in text and "planted.metal:" in text


def test_reads_of_unwritten_threadgroup_memory() -> None:
    body = f"if (t != 9) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];"
    text = fault(body)
    at(text, 4, 9)
    assert "reads threadgroup memory that nobody wrote" in text and "byte 36 of threadgroup(0)" in text


def test_unwritten_threadgroup_memory_is_poison_in_fast_mode() -> None:
    y = run(f"if (t != 9) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];", FAST)
    assert np.isnan(y[9]) and np.isfinite(np.delete(y, 9)).all()


def test_threadgroup_memory_does_not_outlive_a_threadgroup() -> None:
    text = fault(f"if (g == 0) shared[t] = 1;\n{BARRIER}\ny[t] = shared[t];", groups=2)
    at(text, 4, group=1)
    assert "nobody wrote" in text


def test_threadgroup_memory_out_of_bounds() -> None:
    text = fault("shared[t * 2 + 1] = 1;", threads=65)
    at(text, 2, 64)
    assert "out of bounds: writes 4 bytes at byte 516 of threadgroup(0) (512 bytes)" in text


FILL = f"shared[t] = 0; {BARRIER}\n"


@pytest.mark.parametrize(
    ("body", "line", "then", "first"),
    [
        (FILL + "shared[t] = 1;\ny[t] = shared[63 - t];", 3, "writes", "read"),
        (FILL + "shared[t] = 1;\nthreadgroup_barrier(mem_flags::mem_none);\ny[t] = shared[63 - t];", 5, "reads", "wrote"),
        (FILL + "shared[t] = 1;\nthreadgroup_barrier(mem_flags::mem_device);\ny[t] = shared[63 - t];", 5, "reads", "wrote"),
        (FILL + "shared[t] = 1;\nsimdgroup_barrier(mem_flags::mem_threadgroup);\ny[t] = shared[63 - t];", 3, "writes", "read"),
        ("shared[0] = t;\n", 2, "writes", "wrote"),
        (FILL + "y[t] = shared[0];\nif (t == 9) shared[0] = 2;", 4, "writes", "read"),
        (f"y[t] = 1;\n{BARRIER}\ny[63 - t] += 1;", 4, "reads", "wrote"),
        ("y[t / 2] = 1;", 2, "writes", "wrote"),
        (FILL + "simdgroup_float8x8 m(1.0f);\nsimdgroup_store(m, shared);\ny[t] = shared[t];", 4, "writes", "read"),
    ],
    ids=[
        "no barrier", "mem_none", "wrong memory", "SIMD group's barrier", "one place", "read, then written",
        "device memory, threadgroup barrier", "device memory", "stored matrix",
    ],
)  # fmt: skip
def test_data_race_inside_a_threadgroup(body: str, line: int, then: str, first: str) -> None:
    text = fault(body)
    at(text, line)
    assert re.search(rf"data race: {then} \d+ bytes .* {first}, with no barrier between", text), text


@pytest.mark.parametrize(
    "body",
    [
        f"shared[t] = 1;\n{BARRIER}\ny[t] = shared[63 - t];",
        "y[t] = 1;\nthreadgroup_barrier(mem_flags::mem_device);\ny[63 - t] += 1;",
        "shared[t] = 1;\nsimdgroup_barrier(mem_flags::mem_threadgroup);\ny[t] = shared[t ^ 31];",
        "y[t] = x[0];",
        f"for (int i = 0; i < 3; i++) {{ shared[t] = i; {BARRIER} y[t] = shared[t ^ 1]; {BARRIER} }}",
        f"simdgroup_float8x8 m(1.0f);\nif (group == 0) simdgroup_store(m, shared);\n{BARRIER}\ny[t] = shared[t];",
    ],
    ids=["barrier", "device barrier", "SIMD group's barrier", "reads only", "loop", "matrix"],
)
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
    with pytest.raises(MslError, match="data race: updates 4 bytes .* read, with no barrier"):
        library(f"{add}\nuint v = ((device uint *)n)[0]; if (v) y[0] = 1;", CHECKED, parameters).run(
            "k", {0: n, 1: y}, 1, 40
        )


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
    at(str(caught.value), 5)


def test_data_race_between_threadgroups() -> None:
    text = fault("y[t] = 1;", groups=2)
    at(text, 2, 0, 1)
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
    with pytest.raises(MslError, match="missing barrier between dispatches: reads 4 bytes") as caught:
        step(c, b, 3)
    assert "which kernel k (dispatch" in str(caught.value) and "wrote since the last one" in str(caught.value)
    step(c, a, 4)
    with pytest.raises(MslError, match="missing barrier between dispatches: writes 4 bytes"):
        step(a, b, 4)


def test_misaligned_pointers() -> None:
    body = "device const char *bytes = (device const char *)x;\ny[t] = *(device const float *)(bytes + 2 * t);"
    text = fault(body, threads=2)
    at(text, 3, 1)
    assert "misaligned" in text


@BOTH
def test_endless_loop(checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTMETAL_TIMEOUT", "0.2")
    body = "y[t] = 1;\nif (t == 3)\nfor (volatile int i = 0; i < 2; i = 0) {}"
    text = fault(body, checked)
    at(text, 4, 3)
    assert "longer than the time allowed" in text


@BOTH
def test_stack_overflow(checked: bool) -> None:
    body = "float big[20000]; for (uint i = 0; i < 20000; i++) big[i] = x[i % 64] * t;\ny[t] = big[uint(x[t]) * 300];"
    text = fault(body, checked, threads=1)
    assert text.startswith("kernel k") and "stack overflow" in text


def test_the_process_stays_sane_after_faults() -> None:
    before = signal.getsignal(signal.SIGSEGV)
    for _ in range(3):
        fault("y[t + 1] = 1;", FAST)
        run("y[t] = 1;", FAST)
    assert signal.getsignal(signal.SIGSEGV) == before


def test_a_fault_outside_of_kernels_is_not_swallowed() -> None:
    """A crash of the host program has to end it as before."""
    pid = os.fork()
    if pid == 0:
        try:
            faulthandler.disable()
            run("y[t] = 1;", FAST)
            ctypes.string_at(8)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGSEGV
