"""Memory that a kernel may not touch, and arguments that are not as the kernel wants them."""

import numpy as np
import pytest
from planted import CHECKED, HEAD, assert_at, both_modes, fault, library, needs_clang

from softmetal.msl import Buffer, Library, MslError

pytestmark = needs_clang


@both_modes
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
    assert_at(text, 2, 5 if byte < 0 else 63)
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
    assert_at(text, 3, 0)
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


@both_modes
def test_unbound_buffer(checked: bool) -> None:
    with pytest.raises(
        MslError, match=r"kernel k \(planted.metal:1\): buffer\(1\) 'x' is not bound"
    ):
        library("y[t] = x[t];", checked).run(
            "k", {0: np.zeros(8, np.float32)}, 1, 8, threadgroup={0: 16}
        )


@both_modes
def test_buffer_shorter_than_its_argument(checked: bool) -> None:
    parameters = "constant int4 &args [[buffer(0)]], device int *y [[buffer(1)]]"
    kernel = library("y[0] = args.w;", checked, parameters)
    kernel.run("k", {0: bytes(16), 1: np.zeros(1, np.int32)}, 1, 1)
    with pytest.raises(MslError, match="'args' has 12 bytes, and the kernel takes 16 by reference"):
        kernel.run("k", {0: bytes(12), 1: np.zeros(1, np.int32)}, 1, 1)


@both_modes
def test_conditional_buffers_are_wanted_only_when_present(checked: bool) -> None:
    text = f"""{HEAD}
    constant bool SPLIT [[function_constant(3)]];
    constant bool WHOLE = !SPLIT;
    kernel void k(device int *y [[buffer(0)]],
                  device int *part [[buffer(1), function_constant(SPLIT)]],
                  device int *whole [[buffer(2), function_constant(WHOLE)]])
    {{ y[0] = 1; if (SPLIT) part[0] = 2; else whole[0] = 3; }}"""
    kernel = Library(text, checked=checked)
    y, part, whole = (np.zeros(1, np.int32) for _ in range(3))
    kernel.run("k", {0: y, 1: part}, 1, 1, constants={"SPLIT": True})
    kernel.run("k", {0: y, 2: whole}, 1, 1, constants={3: False})
    assert (y[0], part[0], whole[0]) == (1, 2, 3)
    with pytest.raises(MslError, match=r"buffer\(2\) 'whole' is not bound"):
        kernel.run("k", {0: y, 1: part}, 1, 1, constants={"SPLIT": False})
    with pytest.raises(MslError, match=r"uses the function constant 'SPLIT'.*no value"):
        kernel.run("k", {0: y, 1: part}, 1, 1)


@both_modes
def test_threadgroup_memory_has_to_be_given(checked: bool) -> None:
    with pytest.raises(MslError, match=r"threadgroup\(0\) 'shared' has no length"):
        library("y[t] = 1;", checked).run("k", {0: bytes(4), 1: bytes(4)}, 1, 1)


@both_modes
def test_threadgroup_memory_beyond_the_limit(checked: bool) -> None:
    kernel = library("y[t] = 1;", checked)
    kernel.run("k", {0: bytes(4), 1: bytes(4)}, 1, 1, threadgroup={0: 32768})
    with pytest.raises(
        MslError, match="32784 bytes of threadgroup memory exceed the limit of 32768"
    ):
        kernel.run("k", {0: bytes(4), 1: bytes(4)}, 1, 1, threadgroup={0: 32784})


@both_modes
def test_threadgroup_variables_beyond_the_limit(checked: bool) -> None:
    text = fault("threadgroup float big[8192 - 127];\nbig[t] = x[t];", checked)
    assert_at(text, 2)
    assert "32784 bytes of threadgroup memory exceed the limit of 32768" in text


@both_modes
def test_too_many_threads(checked: bool) -> None:
    assert "1025 threads a threadgroup; this kernel's limit is 1024" in fault(
        "y[0] = 1;", checked, threads=1025
    )
    limited = Library(
        HEAD + "[[max_total_threads_per_threadgroup(64)]] "
        "kernel void k(device int *y [[buffer(0)]]) { y[0] = 1; }",
        checked=checked,
    )
    with pytest.raises(MslError, match="65 threads a threadgroup; this kernel's limit is 64"):
        limited.run("k", {0: bytes(4)}, 1, 65)


def test_threadgroup_memory_out_of_bounds() -> None:
    text = fault("shared[t * 2 + 1] = 1;", threads=65)
    assert_at(text, 2, 64)
    assert "out of bounds: writes 4 bytes at byte 516 of threadgroup(0) (512 bytes)" in text
