"""attention_scores and attention_mix, with softmax between them."""

from __future__ import annotations

import numpy as np
import pytest
from attention_case import Case
from kernels import assert_same_bits, assert_within, needs_softmetal

pytestmark = needs_softmetal
SPANS = [(0, 1), (30, 34), (95, 97)]


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "head_dim", "f16"),
    [(1, 1, 2, False), (7, 1, 8, True), (4, 2, 48, False), (2, 1, 80, True), (2, 2, 256, False)],
)
def test_scores_and_mix(n_heads: int, n_kv_heads: int, head_dim: int, f16: bool) -> None:
    case = Case(SPANS, n_heads, n_kv_heads, head_dim, f16)
    scores, y = case.unfused(capacity=100)
    for token, position in enumerate(case.step.positions):
        for head in range(n_heads):
            got, bound = scores[token, head], case.score_bound(token, head)
            assert_within(got[: position + 1], case.scores(token, head), bound, (token, head))
            assert not got[position + 1 :].any()
    assert_within(y, *case.expected(range(len(y))))


def test_checked() -> None:
    case = Case(SPANS, 4, 2, 48, True)
    for checked, plain in zip(case.unfused(130, checked=True), case.unfused(130), strict=True):
        assert_same_bits(checked, plain)
    assert not np.isnan(plain).any()
