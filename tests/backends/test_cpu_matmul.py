"""matmul on the CPU device: within the error its arithmetic allows, and the same bits everywhere.

The bound. A quantised activation is x^ = d q with d = max|x| / 2047 of its block and |x - x^| <=
d / 2, so that |y - y_ref| <= sum over blocks of sum|w| max|x| / 4094. Rounding q's argument and d
adds at most 3 * 2047 roundings to the half, one part in 1,300. Sums inside a block are exact; what
floats add comes to a rounding for each of a block's few operations, n_blocks + 4 in all, of terms
that are bounded by the block's largest weight (scale * code and scale * minimum are each at most
twice that in random blocks). Float formats: 16 lanes of n_in / 16 fused products, then 4 additions.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from harness import (
    ISAS,
    ULP,
    Feed,
    Runner,
    as_weight,
    assert_same_bits,
    assert_within,
    check_everywhere,
    cpu_device,
)

from random_weights import SCALES, random_weights
from smelt import _cpu
from smelt.formats import FORMATS
from smelt.graph.ops import Op, Weight
from smelt.graph.program import build, tables

MOST = float(np.finfo(np.float32).max)
N_OUT = (1, 15, 16, 17, 33, 257)
N_TOKENS = (1, 2, 6, 7, 13, 33)
FLOATS = ("f32", "f16", "bf16")
QUANTISED = [name for name in FORMATS if name not in FLOATS]


def widths(format: str) -> tuple[int, ...]:
    """Input widths: one block, several, and for floats such as no vector divides."""
    block = FORMATS[format].block_weights
    return (1, 31, 32, 33, 257) if block == 1 else (block, 3 * block, 5 * block)


def quantised_weight(rng: np.random.Generator, format: str, n_out: int, n_in: int) -> Weight:
    blocks = random_weights(rng, format, n_out, n_in, 1.0)
    return Weight("w", (n_out, n_in), format, blocks.reshape(-1))


def decoded(weight: Weight) -> np.ndarray:
    return FORMATS[weight.format].decode(weight.data).reshape(weight.shape).astype(np.float64)


def matmul(x: np.ndarray, weight: Weight, bias: np.ndarray | None = None) -> list[Op]:
    feed = Feed()
    b = None if bias is None else as_weight("b", bias)
    feed.matmul("y", feed.rows("x", x), weight, b)
    return feed.ops


def blocks_of(x: np.ndarray, format: str) -> np.ndarray:
    """Magnitudes, block by block: float64 [n, n_blocks, block]."""
    blocks: np.ndarray = np.abs(x.astype(np.float64))
    return blocks.reshape(len(x), -1, FORMATS[format].block_weights)


def rounding_bound(x: np.ndarray, weight: Weight) -> np.ndarray:
    """What float32 accumulation may add: [n_tokens, n_out]."""
    result: np.ndarray
    if weight.format in FLOATS:
        roundings = -(-weight.n_in // 16) + 5
        result = roundings * ULP * (np.abs(x.astype(np.float64)) @ np.abs(decoded(weight)).T)
    else:
        largest = 4 * blocks_of(decoded(weight), weight.format).max(axis=-1)  # [n_out, n_blocks]
        roundings = largest.shape[1] + 4
        result = roundings * ULP * (blocks_of(x, weight.format).sum(axis=-1) @ largest.T)
    return result


def bound(x: np.ndarray, weight: Weight) -> np.ndarray:
    """What rounding the activations may add as well."""
    if weight.format in FLOATS:
        return rounding_bound(x, weight)
    most = blocks_of(x, weight.format).max(axis=-1)  # [n_tokens, n_blocks]
    total = blocks_of(decoded(weight), weight.format).sum(axis=-1)  # [n_out, n_blocks]
    per_weight = (0.5 + 3 * 2047 * ULP) / 2047
    result: np.ndarray = per_weight * (most @ total.T) + rounding_bound(x, weight)
    return result


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("n_out", N_OUT)
def test_every_element_is_within_its_bound_and_the_same_everywhere(format: str, n_out: int) -> None:
    rng = np.random.default_rng(n_out)
    for n_in in widths(format):
        weight = quantised_weight(rng, format, n_out, n_in)
        # magnitudes from 2^-6 to 2^6, so that the scales of blocks differ
        x = rng.standard_normal((33, n_in)) * 2.0 ** rng.integers(-6, 7, (33, n_in))
        x = x.astype(np.float32)
        y = check_everywhere(partial(matmul, x, weight), 33, sizes=N_TOKENS[:-1])
        assert_within(y, x @ decoded(weight).T, bound(x, weight), f"n_in {n_in}")


@pytest.mark.parametrize("format", QUANTISED)
def test_activations_that_need_no_rounding_are_exact(format: str) -> None:
    """Integers with a largest of 2,047 in every block: codes, scales and minimums stand bare."""
    rng = np.random.default_rng(1)
    block = FORMATS[format].block_weights
    weight = quantised_weight(rng, format, 48, 4 * block)
    x = rng.integers(-2047, 2048, (8, 4 * block)).astype(np.float32)
    x[:, ::block] = np.where(rng.random((8, 4)) < 0.5, -2047, 2047)
    y = Runner(cpu_device(), matmul(x, weight), 8)(8)
    assert_within(y, x @ decoded(weight).T, rounding_bound(x, weight))


@pytest.mark.parametrize("byte", [0xFF, 0x80, 0x7F, 0x00])
@pytest.mark.parametrize("format", QUANTISED)
def test_extreme_codes_do_not_overflow(format: str, byte: int) -> None:
    """Every byte but the blocks' own float16 scales is the same; activations are the largest."""
    block = FORMATS[format].block_weights
    x = np.full((7, 2 * block), 2047, np.float32)
    x[1] *= -1
    x[2, ::2] *= -1
    weight = quantised_weight(np.random.default_rng(0), format, 17, 2 * block)
    largest = 4 * np.abs(decoded(weight)).max()  # of random codes; equal ones may cancel
    scales = [offset + i for offset, _ in SCALES[format] for i in (0, 1)]
    codes = np.setdiff1d(np.arange(FORMATS[format].block_bytes), scales)
    weight.data.reshape(-1, FORMATS[format].block_bytes)[:, codes] = byte
    y = check_everywhere(lambda: matmul(x, weight), 7, threads=(1,), sizes=(1, 6))
    assert_within(y, x @ decoded(weight).T, 6 * ULP * 2 * block * 2047 * largest)


@pytest.mark.parametrize("format", [f for f in QUANTISED if FORMATS[f].block_weights == 256])
def test_sums_of_32_activations_that_fit_an_int16_or_do_not(format: str) -> None:
    """Minima of 32 weights are multiplied with such a sum, or with its halves: in tiles of 16, 12,
    8 and 4 tokens, of which one has a sum that does not fit, if only just, or none."""
    rng = np.random.default_rng(2)
    x = rng.integers(-1000, 1001, (33, 512)).astype(np.float32)
    x[:, ::256] = 2047
    for token, total in ((0, 32768), (13, -32769), (24, 32767), (28, -32768), (32, 32 * 2047)):
        for begin in (32, 480):
            even, rest = divmod(total, 32)
            x[token, begin : begin + 32] = even
            x[token, begin : begin + rest] += 1
    weight = quantised_weight(rng, format, 33, 512)
    y = check_everywhere(lambda: matmul(x, weight), 33, sizes=(1, 4, 8, 13, 24))
    assert_within(y, x @ decoded(weight).T, rounding_bound(x, weight))


@pytest.mark.parametrize("format", FORMATS)
def test_a_bias_is_added_once(format: str) -> None:
    rng = np.random.default_rng(2)
    n_in = widths(format)[1]
    weight = quantised_weight(rng, format, 33, n_in)
    x = rng.standard_normal((9, n_in)).astype(np.float32)
    bias = rng.standard_normal(33).astype(np.float32)
    plain = Runner(cpu_device(), matmul(x, weight), 9)(9)
    y = check_everywhere(lambda: matmul(x, weight, bias), 9, sizes=(1, 3))
    assert_same_bits(y, plain + bias)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("n_tokens", [1, 3, 9, 33])
def test_what_is_not_a_number_stays_so_and_stays_in_its_row(
    format: str, isa: str, n_tokens: int
) -> None:
    rng = np.random.default_rng(3)
    n_in = 2 * FORMATS[format].block_weights if format not in FLOATS else 67
    weight = quantised_weight(rng, format, 19, n_in)
    x = rng.standard_normal((n_tokens, n_in)).astype(np.float32)
    clean = Runner(cpu_device(isa), matmul(x, weight), n_tokens)(n_tokens)
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        for column in (0, n_in // 2, n_in - 1):
            row = column % n_tokens
            dirty = x.copy()
            dirty[row, column] = bad
            y = Runner(cpu_device(isa), matmul(dirty, weight), n_tokens)(n_tokens)
            assert not np.isfinite(y[row]).any(), (bad, column)
            others = np.arange(n_tokens) != row
            assert_same_bits(y[others], clean[others])


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_zeros_and_of_tiny_numbers(format: str) -> None:
    """Zeros give zeros. Activations whose reciprocal scale 2047 / max|x| float32 cannot hold may
    count as zero, and subnormal results are as coarse as they are; else the bound is the same."""
    rng = np.random.default_rng(4)
    n_in = widths(format)[-1]
    weight = quantised_weight(rng, format, 17, n_in)
    x = rng.standard_normal((8, n_in)).astype(np.float32)
    x *= np.array([0, 1e-30, 1e-35, 1e-36, 1e-38, 1e-40, 1e-44, 1e30], np.float32)[:, None]
    y = check_everywhere(lambda: matmul(x, weight), 8, threads=(1,), sizes=(1, 6))
    assert_within(y, x @ decoded(weight).T, bound(x, weight) + tiny_bound(weight))
    assert not y[0].any()


def tiny_bound(weight: Weight) -> np.ndarray:
    total: np.ndarray = np.abs(decoded(weight)).sum(axis=1)  # [n_out]
    smallest_scale = 2.0**-149 * (2047 * total + 4 * weight.n_in)
    return smallest_scale + (0 if weight.format in FLOATS else 2047 / MOST * total)


@pytest.mark.parametrize("format", QUANTISED)
def test_records_of_packed_matrices_tell_where_their_groups_are(format: str) -> None:
    """Thirty-three rows are three groups of 16."""
    rng = np.random.default_rng(0)
    weight = quantised_weight(rng, format, 33, widths(format)[1])
    x = np.zeros((1, weight.n_in), np.float32)
    program = build(matmul(x, weight), 1, 1)
    flat = tables(program)
    cpu_device().pack(program, flat)
    (record,) = (record for record in flat.weights if record["packed"])
    n_bytes = _cpu.packed_bytes(int(record["format"]), 33, weight.n_in)
    assert 3 * 16 * record["row_bytes"] == n_bytes
