"""attention_decode and attention_reduce: whole and split contexts, shared heads, both KV types."""

from __future__ import annotations

import numpy as np
import pytest
from attention_case import Case
from kernels import assert_same_bits, assert_within, needs_softmetal

pytestmark = needs_softmetal
HEADS = [
    (1, 1, 2, False),
    (2, 1, 8, True),
    (14, 2, 48, True),
    (8, 1, 64, False),
    (3, 3, 80, False),
    (4, 2, 128, True),
    (8, 1, 256, False),
]
"""n_heads, n_kv_heads, head_dim, f16."""


def lasts(case: Case) -> list[int]:
    """The last token of each sequence, and the first of the last one: singles need not be lasts."""
    counts = [end - first for first, end in case.spans]
    ends = np.cumsum(counts).tolist()
    return sorted({ends[-1] - counts[-1], *(end - 1 for end in ends)})


@pytest.mark.parametrize("heads", HEADS)
def test_short_contexts(heads: tuple[int, int, int, bool]) -> None:
    """Within one split, whole and split pipelines give the same bits; other tokens' stay."""
    case = Case([(0, 1), (30, 31), (31, 32), (30, 33), (511, 512), (126, 130)], *heads)
    tokens = lasts(case)
    y = case.decode(tokens, split=False)
    assert_within(y[tokens], *case.expected(tokens))
    assert_same_bits(case.decode(tokens, split=True), y)
    others = np.setdiff1d(np.arange(len(y)), tokens)
    assert np.isnan(y[others]).all() and len(others) > 0


@pytest.mark.parametrize("heads", [HEADS[2], HEADS[4], HEADS[6]])
def test_long_contexts(heads: tuple[int, int, int, bool]) -> None:
    """512 and 513 positions end with a split and begin one; 1,100 take three."""
    case = Case([(1099, 1100), (511, 513), (1024, 1025), (5, 6)], *heads)
    tokens = lasts(case)
    assert_within(case.decode(tokens, split=True)[tokens], *case.expected(tokens))


def test_other_sequences_change_no_bit() -> None:
    """A long sequence beside a short one makes more splits, of which the short one's are empty."""
    alone = Case([(40, 41)], 4, 2, 48)
    beside = Case([(40, 41), (1090, 1091)], 4, 2, 48)
    beside.q[0] = alone.q[0]
    beside.pages.fill(beside.step.page_table[0], alone.k[0], alone.v[0])
    y = beside.decode([0, 1], split=True)
    assert_same_bits(y[:1], alone.decode([0], split=False))


@pytest.mark.parametrize("group", [1, 2, 4])
def test_heads_that_share_a_reading_change_no_bit(group: int) -> None:
    case = Case([(69, 70)], 8, 1, 64, True)
    assert_same_bits(case.decode([0], False, group), case.decode([0], False))


@pytest.mark.parametrize("size", [1e-6, 6.0])
def test_flat_and_steep_softmax(size: float) -> None:
    """Scores that hardly differ, and scores of which one takes nearly all the weight."""
    case = Case([(199, 200)], 3, 3, 80, size=size)
    assert_within(case.decode([0], split=False), *case.expected([0]))


def test_infinity_and_nan_reach_the_result() -> None:
    case = Case([(69, 70)], 8, 1, 64)
    case.q[0, 3, 5] = np.nan
    case.q[0, 5] = 3e38
    y = case.decode([0], split=False)
    assert [bool(np.isnan(row).all()) for row in y[0]] == [head in (3, 5) for head in range(8)]


def test_equals_the_unfused_ops() -> None:
    case = Case([(69, 70), (126, 130)], 14, 2, 48, True)
    tokens = list(range(len(case.q)))
    _, bound = case.expected(tokens)
    assert_within(case.decode(tokens, False), case.unfused(130)[1].astype(np.float64), 2 * bound)


@pytest.mark.parametrize("split", [False, True])
def test_checked(split: bool) -> None:
    case = Case([(39, 40), (545, 546)] if split else [(39, 40), (128, 130)], 6, 2, 48, True)
    tokens = lasts(case)
    assert_same_bits(case.decode(tokens, split, checked=True), case.decode(tokens, split))
