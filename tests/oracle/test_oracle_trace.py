"""Every intermediate activation of a model, beside llama.cpp's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from measure import TRACED, Oracle, trace_errors


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("prompt", TRACED)
def test_every_tensor_of_the_trace(
    oracle_of: Callable[[str], Oracle], prompt: str, device: str
) -> None:
    oracle = oracle_of("prose-code-7m-F16")
    errors = trace_errors(oracle, prompt, device)
    assert errors.keys() == oracle.trace(prompt).keys() and len(errors) > 140
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] < 1e-3, worst
