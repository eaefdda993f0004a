"""Rows of logits whose largest ones are hard to tell, for every device that finds them."""

from __future__ import annotations

import numpy as np

# n_vocab, k
SIZES = [(1, 1), (31, 1), (31, 31), (33, 2), (257, 40), (1025, 64), (3000, 1000), (3000, 1024)]


def tied(n_vocab: int) -> np.ndarray:
    """Whole numbers; all alike; and alike but for a few, so that ids decide where to cut."""
    rng = np.random.default_rng(n_vocab)
    logits = np.round(rng.standard_normal((3, n_vocab))).astype(np.float32)
    logits[1] = -2.5
    zeros = np.where(rng.random(n_vocab) < 0.5, 0, -0.0)
    logits[2] = np.where(rng.random(n_vocab) < 0.01, 1, zeros)
    return logits


def of_all_sizes() -> np.ndarray:
    """Any bits but those of NaN and +inf; and neighbouring floats, whose last bits differ."""
    bits = np.random.default_rng(5).integers(0, 2**32, (2, 2000), np.uint32)
    bits[1] = 0x3F800000 + np.random.default_rng(6).permutation(2000)
    logits = bits.view(np.float32)
    return np.where(np.isnan(logits) | (logits == np.inf), np.float32(-np.inf), logits)
