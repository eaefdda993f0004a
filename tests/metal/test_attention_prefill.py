"""attention_prefill: tiles of queries, whole and not, at the beginning of a context and within."""

from __future__ import annotations

import numpy as np
import pytest
from attention_case import Case
from kernels import assert_same_bits, assert_within, needs_softmetal

pytestmark = needs_softmetal
HEADS = [
    (1, 1, 2, False),
    (2, 1, 8, True),
    (7, 1, 48, True),
    (2, 2, 64, False),
    (2, 1, 66, True),
    (3, 3, 80, False),
    (4, 2, 128, True),
    (1, 1, 256, False),
]
"""n_heads, n_kv_heads, head_dim, f16."""


def tiles_of(case: Case, size: int = 32) -> list[tuple[int, int]]:
    """As native/metal/step.m cuts a step: each sequence's tokens by themselves."""
    tiles, first = [], 0
    for begin, end in case.spans:
        n = end - begin
        tiles += [(first + i, min(size, n - i)) for i in range(0, n, size)]
        first += n
    return tiles


@pytest.mark.parametrize("heads", HEADS)
def test_tiles(heads: tuple[int, int, int, bool]) -> None:
    """Prompts from their beginning and chunks of longer ones: tiles of 32, of 1, 8, 9 and 31
    tokens, that begin and end within pages and on their borders."""
    case = Case([(0, 33), (0, 8), (45, 76), (64, 105), (31, 32), (500, 522)], *heads)
    y = case.prefill(tiles_of(case))
    assert_within(y, *case.expected(range(len(y))))


def test_only_its_tokens_are_written() -> None:
    case = Case([(3, 60)], 2, 2, 64)
    y = case.prefill([(10, 13)])
    assert np.isnan(np.delete(y, np.s_[10:23], axis=0)).all()
    assert not np.isnan(y[10:23]).any()


@pytest.mark.parametrize("size", [1, 7, 20])
def test_tiles_change_no_bit(size: int) -> None:
    """A token gets the same whatever tile it is computed in."""
    case = Case([(0, 50), (70, 90)], 3, 3, 80)
    assert_same_bits(case.prefill(tiles_of(case, size)), case.prefill(tiles_of(case)))


@pytest.mark.parametrize("size", [1e-6, 6.0])
def test_flat_and_steep_softmax(size: float) -> None:
    case = Case([(70, 100)], 3, 3, 80, size=size)
    assert_within(case.prefill(tiles_of(case)), *case.expected(range(30)))


def test_long_context() -> None:
    case = Case([(1090, 1100)], 2, 1, 66, True)
    assert_within(case.prefill(tiles_of(case)), *case.expected(range(10)))


def test_equals_decode_and_the_unfused_ops() -> None:
    case = Case([(0, 33), (45, 60)], 7, 1, 48, True)
    tokens = list(range(len(case.q)))
    _, bound = case.expected(tokens)
    y = case.prefill(tiles_of(case)).astype(np.float64)
    assert_within(case.decode(tokens, split=False), y, 2 * bound)
    assert_within(case.unfused(64)[1], y, 2 * bound)


def test_a_nan_reaches_its_own_result() -> None:
    """And it may reach the rest of its tile, but no other head or sequence."""
    case = Case([(0, 9), (0, 9)], 2, 2, 64)
    case.q[4, 1, 7] = np.nan
    y = case.prefill(tiles_of(case))
    assert np.isnan(y[4, 1]).all()
    assert not np.isnan(y[:, 0]).any() and not np.isnan(y[9:]).any()


@pytest.mark.parametrize("head_dim", [66, 128])
def test_checked(head_dim: int) -> None:
    case = Case([(40, 50), (0, 33)], 2, 1, head_dim, True)
    assert_same_bits(case.prefill(tiles_of(case), checked=True), case.prefill(tiles_of(case)))
