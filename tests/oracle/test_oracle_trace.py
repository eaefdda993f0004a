"""Every intermediate activation of a model, beside llama.cpp's, through smelt.diff."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from measure import TRACED, Oracle, trace_diff, trace_errors


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("prompt", TRACED)
@pytest.mark.parametrize("name", ["prose-code-7m-F16", "prose-code-7m-Q4_K_M"])
def test_every_tensor_is_matched_and_within_tolerance(
    oracle_of: Callable[[str], Oracle], name: str, prompt: str, device: str
) -> None:
    oracle = oracle_of(name)
    diff = trace_diff(oracle, prompt, device)
    tensors = {d.tensor for d in diff.differences}
    assert tensors == {*oracle.tensors(prompt), "logits"} and len(tensors) > 140
    assert diff.first is None, diff.first


@pytest.mark.parametrize("prompt", TRACED)
def test_the_trace_of_half_precision_is_close(
    oracle_of: Callable[[str], Oracle], prompt: str
) -> None:
    """Halves have 2^-11 of relative rounding; over all layers it adds up to less than 1e-3."""
    errors = trace_errors(oracle_of("prose-code-7m-F16"), prompt)
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] < 1e-3, worst
