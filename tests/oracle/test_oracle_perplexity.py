"""Perplexity of a text the models were not trained on, beside llama.cpp's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from measure import PROSE, Oracle


@pytest.mark.parametrize("name", PROSE)
def test_perplexity(oracle_of: Callable[[str], Oracle], name: str) -> None:
    oracle = oracle_of(name)
    value, stderr = oracle.perplexity
    result = oracle.cpu.perplexity(oracle.held)
    assert result.value == pytest.approx(value, rel=0.003)
    assert result.stderr == pytest.approx(stderr, rel=0.01)
    assert result.n_tokens % 255 == 0  # scored positions a chunk of 512
