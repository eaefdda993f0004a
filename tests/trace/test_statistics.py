"""Statistics against NumPy in float64, whole or in blocks, with and without what is not finite."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smelt import _cpu
from smelt.trace import statistics
from smelt.trace.statistics import Statistics, StatisticsTable, summary


@pytest.fixture(params=_cpu.instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    index = _cpu.known_instruction_sets().index(request.param)
    monkeypatch.setattr(statistics, "_widest", lambda: index)


def measured(x: np.ndarray, block: int) -> Statistics:
    table = StatisticsTable(["other", "x"])
    table.add(("x", x[at : at + block], at) for at in range(0, len(x), block))
    assert table["other"] == Statistics()
    return table["x"]


@pytest.mark.usefixtures("isa")
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
    # of float32, sums of 1024 in 16 lanes of 64 terms, then 4 additions between them; a square is
    # part of a fused multiply-add and not rounded by itself
    rounding = (68 if dtype is np.float32 else x.size * 2.0**-29) * 2.0**-24
    assert abs(s.mean - wide.mean()) <= rounding * np.mean(np.abs(wide))
    assert s.rms == pytest.approx(np.sqrt(np.mean(wide**2)), rel=rounding + 1e-12)


@pytest.mark.usefixtures("isa")
def test_zeros_among_the_smallest_and_largest_numbers() -> None:
    x = np.tile(np.array([0.0, -0.0, 1e-45, -1e-45, 3e38, 1.0, -2.0, 1e-38], np.float32), 300)
    for part in (x, x[x < 1e30]):  # the squares of what is left of a block are lost, or are not
        s = measured(part.reshape(-1, 1), len(part))
        assert s.n_zeros == 600 and (s.min, s.max) == (-2.0, part.max())
        assert s.rms == pytest.approx(np.sqrt(np.mean(part.astype(np.float64) ** 2)), rel=1e-5)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1023, 1024, 2999])
def test_one_that_is_not_finite_in_a_long_value(bad: float, at: int) -> None:
    x = np.ones((300, 10), np.float32)
    x.reshape(-1)[at] = bad
    s = measured(x, 300)
    assert (s.n_nan, s.n_inf) == ((1, 0) if np.isnan(bad) else (0, 1))
    assert s.bad == divmod(at, 10)
    assert (s.mean, s.min, s.max, s.count) == (1.0, 1.0, 1.0, 3000)


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
    empty = measured(np.empty((0, 4), np.float32), 1)
    assert empty == Statistics() and empty.zeros == 0.0


@pytest.mark.parametrize("dtype", [np.float16, np.int32, ">f4", ">f8"])
def test_other_numbers_and_orders_of_bytes(dtype: str) -> None:
    x = np.arange(3000).reshape(30, 100).astype(dtype)
    s = measured(x[:, ::2], 7)
    assert (s.count, s.min, s.max, s.n_zeros) == (1500, 0.0, 2998.0, 1)
    assert s.total == x[:, ::2].astype(np.float64).sum()


@pytest.mark.parametrize("x", [np.ones((2, 2)), np.full((2, 2), np.nan), np.empty((0, 2))])
def test_as_json(x: np.ndarray) -> None:
    s = measured(x, 1)
    text = json.dumps(s.as_dict(), allow_nan=False)
    assert Statistics.from_dict(json.loads(text)) == s
