"""softmax of scores, causal and scaled."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import ULP, Step, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
SCALE = 0.125


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("capacity", [1, 31, 33, 257, 1100])
def test_softmax(capacity: int, checked: bool) -> None:
    """A scaled score and its difference from the largest are rounded, numbers up to |s| and twice
    that; exp is right to 4 units in the last place; the sum takes capacity / 256 additions in a
    thread and 10 between them, and with the division the result is rounded."""
    rng = np.random.default_rng(capacity)
    positions = np.unique([0, capacity // 2, capacity - 1])
    n, n_heads = len(positions), 3
    scores = (30 * rng.standard_normal((n, n_heads, capacity))).astype(np.float32)
    p = np.full_like(scores, np.nan)
    for row, position in zip(scores, positions, strict=True):
        row[:, position + 1 :] = np.nan  # nobody may look there
    args = struct("attention_args", n_heads=n_heads, capacity=capacity, scale=SCALE)
    run("softmax", "softmax", args, [scores, p], (n_heads, n), CONST["NORM_THREADS"],
        step=Step(positions=positions), checked=checked)  # fmt: skip

    wanted, bound = np.zeros_like(p, np.float64), np.zeros_like(p, np.float64)
    for t, position in enumerate(positions):
        s = scores[t, :, : position + 1].astype(np.float64) * SCALE
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        wanted[t, :, : position + 1] = e / e.sum(axis=-1, keepdims=True)
        largest = np.abs(s).max()
        bound[t] = (2 * (3 * largest + 8) + capacity / 256 + 12) * ULP * wanted[t] + 1e-37
        bound[t, :, position + 1 :] = 0
    assert_within(p, wanted, bound)
