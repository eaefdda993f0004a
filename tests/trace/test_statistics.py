"""Statistics against NumPy in float64, whole or in blocks, with and without what is not finite."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smelt.trace.statistics import Statistics, summary


def measured(x: np.ndarray, block: int) -> Statistics:
    statistics = Statistics()
    for at in range(0, len(x), block):
        statistics.add(x[at : at + block], at)
    return statistics


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (33, 7), (257, 3, 5)])
@pytest.mark.parametrize("block", [1, 32, 1000])
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e25])  # squares that float32 cannot hold, too
def test_against_numpy(dtype: type, shape: tuple[int, ...], block: int, size: float) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(shape) * (rng.random(shape) < 0.8) * size).astype(dtype)
    s, wide = measured(x, block), x.astype(np.float64)
    assert (s.count, s.n_nan, s.n_inf, s.bad) == (x.size, 0, 0, None)
    assert (s.min, s.max) == (x.min(), x.max())
    assert s.zeros == np.mean(x == 0)
    # float32 sums of n elements: each of at most log2(n) roundings pairwise, n in the worst order
    bound = 2.0**-24 * x.size * np.mean(np.abs(wide))
    assert abs(s.mean - wide.mean()) <= bound
    assert s.rms == pytest.approx(np.sqrt(np.mean(wide**2)), rel=2.0**-24 * x.size + 1e-12)


def test_what_is_not_finite_is_counted_and_located() -> None:
    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    x[3, 1, 2], x[3, 2, 0], x[4, 0, 0] = np.inf, np.nan, -np.inf
    s = measured(x, 2)
    assert (s.n_nan, s.n_inf, s.bad) == (1, 2, (3, 1 * 4 + 2))
    finite = x[np.isfinite(x)]
    assert s.rms == pytest.approx(np.sqrt(np.mean(finite.astype(np.float64) ** 2)))
    assert (s.min, s.max) == (0.0, 59.0)
    assert "3 NaN or infinite" in summary(s)


def test_nothing_finite_and_nothing_at_all() -> None:
    s = measured(np.full((2, 3), np.nan, np.float32), 1)
    assert s.n_nan == 6 and np.isnan(s.rms) and np.isnan(s.mean) and s.bad == (0, 0)
    assert summary(s) == "no finite number  6 NaN or infinite"
    empty = Statistics()
    empty.add(np.empty((0, 4), np.float32))
    assert empty == Statistics() and empty.zeros == 0.0


@pytest.mark.parametrize("x", [np.ones((2, 2)), np.full((2, 2), np.nan), np.empty((0, 2))])
def test_as_json(x: np.ndarray) -> None:
    s = measured(x, 1)
    text = json.dumps(s.as_dict(), allow_nan=False)
    assert Statistics.from_dict(json.loads(text)) == s
