"""The numbers of llama.cpp's `llama-perplexity --kl-divergence`, worked out a second time.

Written from ggml-org/llama.cpp, tools/perplexity/perplexity.cpp (kl_divergence() and what it
calls), token by token and with what that tool does to the base model's numbers: log probabilities
are stored as 16-bit steps over the upper 16 nats of a row, and tokens below e^-16 are left out.
"""

from __future__ import annotations

from math import exp, fsum, sqrt
from typing import Any

import numpy as np
import pytest

from smelt import Comparison

STORED_NATS, STORED_STEPS = 16.0, 65535

FILE_BOUND = 1.5e-4
"""Through the file: a stored log probability is off by at most half a step, 1.2e-4 nats, and the
tokens that are left out count for less than 16 e^-16 each: none of the sums moves by more."""


def stored(log_p: np.ndarray) -> np.ndarray:
    """A row of log probabilities after it went through the tool's file."""
    low = max(log_p.min(), log_p.max() - STORED_NATS)
    step = (log_p.max() - low) / STORED_STEPS
    return low + step * np.rint((np.maximum(log_p, low) - low) / step)


def mean(values: list[float]) -> tuple[float, float]:
    n = len(values)
    average = fsum(values) / n
    variance = fsum(v * v for v in values) / n - average**2
    return average, sqrt(max(variance, 0.0) / (n - 1))


def percentile(values: list[float], fraction: float) -> float:
    at = fraction * (len(values) - 1)
    below, rest = int(at), at - int(at)
    upper = values[min(below + 1, len(values) - 1)]
    return (1 - rest) * values[below] + rest * upper


def statistics(
    base: np.ndarray, model: np.ndarray, targets: list[int], *, file: bool = True
) -> dict[str, Any]:
    """base, model: float64 log probabilities [n, n_vocab]; targets: the token that followed.

    file=False computes with the base model's numbers as they are."""
    losses, base_losses, divergences, changes, same = [], [], [], [], []
    for exact, q, target in zip(base, model, targets, strict=True):
        p = stored(exact) if file else exact
        counted = p > (-STORED_NATS if file else -np.inf)
        divergences.append(fsum(np.exp(p[counted]) * (p[counted] - q[counted])))
        losses.append(-q[target])
        base_losses.append(-p[target])
        changes.append(exp(q[target]) - exp(p[target]))
        same.append(float(p.argmax() == q.argmax()))
    n = len(targets)
    loss, base_loss = mean(losses), mean(base_losses)
    product = fsum(a * b for a, b in zip(losses, base_losses, strict=True)) / n
    covariance = (product - loss[0] * base_loss[0]) / (n - 1)
    squares = mean([c * c for c in changes])
    share = fsum(same) / n
    divergences.sort()
    changes.sort()
    return {
        "perplexity": (exp(loss[0]), exp(loss[0]) * loss[1]),
        "base": (exp(base_loss[0]), exp(base_loss[0]) * base_loss[1]),
        "log_ratio": (
            loss[0] - base_loss[0],
            sqrt(loss[1] ** 2 + base_loss[1] ** 2 - 2 * covariance),
        ),
        "correlation": covariance / (loss[1] * base_loss[1]),
        "divergence": mean(divergences),
        "divergences": divergences,
        "change": mean(changes),
        "changes": changes,
        "rms_change": (sqrt(squares[0]), 0.5 / sqrt(squares[0]) * squares[1]),
        "same_top": (share, sqrt(share * (1 - share) / (n - 1))),
    }


def check_statistics(result: Comparison, wanted: dict[str, Any], bound: float = FILE_BOUND) -> None:
    """Every number of a comparison against statistics(), within a bound."""
    for name in ("perplexity", "base", "log_ratio", "rms_change", "same_top"):
        got, (value, stderr) = getattr(result, name), wanted[name]
        scale = value if name in ("perplexity", "base") else 1.0  # an exponential of a mean
        assert abs(got.value - value) <= bound * scale, name
        assert got.stderr == pytest.approx(stderr, rel=100 * bound), name
    assert result.correlation == pytest.approx(wanted["correlation"], abs=bound)
    for name in ("divergence", "change"):
        got, values = getattr(result, name), wanted[f"{name}s"]
        assert abs(got.mean.value - wanted[name][0]) <= bound, name
        assert got.mean.stderr == pytest.approx(wanted[name][1], rel=100 * bound), name
        assert abs(got.minimum - values[0]) <= bound, name
        assert abs(got.maximum - values[-1]) <= bound, name
        for percent, value in got.percentiles.items():
            assert abs(value - percentile(values, percent / 100)) <= bound, (name, percent)
