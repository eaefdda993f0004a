"""Perplexity from logits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .completion import Perplexity

__all__ = ["chunk_losses", "summarise"]


def chunk_losses(logits: Iterable[np.ndarray], ids: list[int], first: int) -> np.ndarray:
    """Negative log-likelihoods (nats, float64) of ids[first + 1:], each from the logits before it.

    logits: parts of [len(ids) - first, n_vocab], those of the tokens from index `first` on.
    """
    losses = []
    at = first + 1
    for part in logits:
        targets = np.array(ids[at : at + len(part)], np.int64)
        rows = part[: len(targets)].astype(np.float64)
        top = rows.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(rows - top).sum(axis=1))
        losses.append(log_sum - rows[np.arange(len(targets)), targets])
        at += len(part)
    return np.concatenate(losses)


def summarise(losses: np.ndarray) -> Perplexity:
    """Perplexity of losses; the standard error is that of the mean, carried through exp."""
    n = len(losses)
    value = float(np.exp(losses.mean()))
    stderr = float(losses.std() / np.sqrt(n - 1)) * value if n > 1 else float("nan")
    return Perplexity(value, stderr, n)
