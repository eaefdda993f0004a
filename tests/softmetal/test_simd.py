"""What the threads of a SIMD group do together, and where threads are, against NumPy."""

from functools import cache

import numpy as np
import pytest
from planted import both_modes, needs_clang

from softmetal.msl import Library

pytestmark = needs_clang

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"


def ballot(votes: np.ndarray) -> np.int32:
    return np.int32(np.uint32(sum(1 << int(i) for i in np.flatnonzero(votes))))


# What lane i has of the expression over the group's values x.
SIMD = {
    "simd_sum(x)": lambda x, i: x.sum(),
    "simd_sum(int2(x, 1)).y": lambda x, i: len(x),
    "simd_max(x)": lambda x, i: x.max(),
    "simd_max(short(x))": lambda x, i: x.max(),
    "simd_min(x)": lambda x, i: x.min(),
    "simd_product(x % 3 + 1)": lambda x, i: np.prod(x % 3 + 1, dtype=np.int32),
    "simd_and(x)": lambda x, i: np.bitwise_and.reduce(x),
    "simd_or(x)": lambda x, i: np.bitwise_or.reduce(x),
    "simd_xor(x)": lambda x, i: np.bitwise_xor.reduce(x),
    "simd_shuffle(x, 5)": lambda x, i: x[5],
    "simd_shuffle_xor(x, 3)": lambda x, i: x[i ^ 3],
    "simd_shuffle_down(x, 2)": lambda x, i: x[i + 2 if i + 2 < len(x) else i],
    "simd_shuffle_up(x, 2)": lambda x, i: x[i - 2 if i >= 2 else i],
    "simd_broadcast(x, 7)": lambda x, i: x[7],
    "simd_broadcast_first(x)": lambda x, i: x[0],
    "simd_prefix_inclusive_sum(x)": lambda x, i: x[: i + 1].sum(),
    "simd_prefix_exclusive_sum(x)": lambda x, i: x[:i].sum(),
    "int(simd_any(x > 200))": lambda x, i: int((x > 200).any()),
    "int(simd_all(x > 0))": lambda x, i: int((x > 0).all()),
    "int(ulong(simd_ballot(x & 1)))": lambda x, i: ballot(x & 1),
    "quad_sum(x)": lambda x, i: x[i & ~3 :][:4].sum(),
    "quad_shuffle_xor(x, 1)": lambda x, i: x[i ^ 1],
}


@cache
def simd(checked: bool) -> Library:
    """A kernel of each expression, in their order."""
    parameters = (
        "device int *y [[buffer(0)]], device const int *values [[buffer(1)]], "
        "uint t [[thread_position_in_grid]]"
    )
    kernels = (
        f"kernel void k{n}({parameters}) {{ const int x = values[t]; y[t] = {expression}; }}\n"
        for n, expression in enumerate(SIMD)
    )
    return Library(HEAD + "".join(kernels), checked=checked)


@both_modes
@pytest.mark.parametrize("expression", SIMD)
def test_simd_functions(expression: str, checked: bool) -> None:
    """40 threads a threadgroup: a whole SIMD group and one of eight lanes."""
    x = np.random.default_rng(3).integers(1, 256, 80, np.int32)
    y = np.zeros_like(x)
    simd(checked).run(f"k{list(SIMD).index(expression)}", {0: y, 1: x}, 2, 40)
    for start, count in ((0, 32), (32, 8), (40, 32), (72, 8)):
        group = x[start : start + count]
        wanted = [SIMD[expression](group, i) for i in range(count)]
        assert y[start : start + count].tolist() == wanted


MATRIX = """
kernel void product(device const float *a [[buffer(0)]], device const half *b [[buffer(1)]],
                    device float *y [[buffer(2)]], uint group [[simdgroup_index_in_threadgroup]])
{
    threadgroup float stage[2][64];
    simdgroup_float8x8 left, sums = make_filled_simdgroup_matrix<float, 8, 8>(0.5f), scale(2.0f);
    simdgroup_half8x8 right;
    simdgroup_load(left, a, 17, ulong2(3, 2));
    simdgroup_load(right, b + 8, 24, ulong2(0), true);
    simdgroup_multiply_accumulate(sums, left, right, sums);
    simdgroup_multiply(sums, sums, scale);
    sums.thread_elements() += float2(1);
    simdgroup_store(sums, stage[group]);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_load(sums, stage[group], 8, ulong2(0), true);
    simdgroup_store(sums, y + 64 * group, 8);
}
kernel void lanes(device float2 *y [[buffer(0)]], device const float *a [[buffer(1)]],
                  uint lane [[thread_index_in_simdgroup]])
{
    simdgroup_float8x8 m;
    simdgroup_load(m, a);
    y[lane] = m.thread_elements();
}
"""


@both_modes
def test_matrices(checked: bool) -> None:
    random = np.random.default_rng(5)
    a = random.integers(-9, 9, (12, 17)).astype(np.float32)
    b = random.integers(-9, 9, (8, 24)).astype(np.float16)
    y = np.zeros((2, 8, 8), np.float32)
    Library(HEAD + MATRIX, checked=checked).run("product", {0: a, 1: b, 2: y}, 1, 64)
    wanted = (a[2:10, 3:11] @ b[:, 8:16].T.astype(np.float32) + 0.5) * 2 + 1
    assert np.array_equal(y, np.stack([wanted.T] * 2))


def test_lanes_hold_neighbouring_elements() -> None:
    """Every element once, two neighbours a lane: what kernels may count on is not more."""
    y = np.zeros((32, 2), np.float32)
    Library(HEAD + MATRIX).run("lanes", {0: y, 1: np.arange(64, dtype=np.float32)}, 1, 32)
    assert sorted(y.ravel()) == list(range(64)) and (y[:, 1] == y[:, 0] + 1).all()


def test_positions_in_three_dimensions() -> None:
    names = [
        "thread_position_in_grid", "threadgroup_position_in_grid", "thread_position_in_threadgroup",
        "threads_per_threadgroup", "threadgroups_per_grid", "threads_per_grid",
    ]  # fmt: skip
    scalars = ["thread_index_in_threadgroup", "thread_index_in_simdgroup",
               "simdgroup_index_in_threadgroup",
               "simdgroups_per_threadgroup", "threads_per_simdgroup"]  # fmt: skip
    parameters = "".join(f"uint3 {name} [[{name}]], " for name in names)
    parameters += "".join(f"uint {name} [[{name}]], " for name in scalars)
    stores = "".join(f"row[{i}] = {name};\n" for i, name in enumerate(names))
    stores += "".join(f"row[{6 + i // 3}][{i % 3}] = {name};\n" for i, name in enumerate(scalars))
    text = f"""{HEAD}kernel void k({parameters} device packed_uint4 *y [[buffer(0)]]) {{
        uint3 at = thread_position_in_grid, size = threads_per_grid;
        uint3 row[8]; row[7] = 0;
        {stores}
        for (int i = 0; i < 8; i++)
            y[((at.z * size.y + at.y) * size.x + at.x) * 8 + i] = uint4(row[i], 0);
    }}"""
    groups, threads = (2, 3, 2), (5, 2, 4)
    size = tuple(g * t for g, t in zip(groups, threads, strict=True))
    y = np.zeros((size[2], size[1], size[0], 8, 4), np.uint32)
    Library(text).run("k", {0: y}, groups, threads, workers=2)
    for z, yy, x in np.ndindex(size[2], size[1], size[0]):
        at = np.array([x, yy, z])
        inner = at % threads
        index = (inner[2] * threads[1] + inner[1]) * threads[0] + inner[0]
        rows = [
            at,
            at // threads,
            inner,
            threads,
            groups,
            size,
            [index, index % 32, index // 32],
            [2, 32, 0],
        ]
        assert np.array_equal(y[z, yy, x, :, :3], rows)
