"""Distances against NumPy, whole or in blocks, and rows that are cut differently."""

from __future__ import annotations

import numpy as np
import pytest

from smelt.diff.measure import Distance, aligned


def pair(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    b = rng.standard_normal(shape).astype(np.float32)
    return b + 1e-3 * rng.standard_normal(shape).astype(np.float32), b


def cut(x: np.ndarray, *sizes: int) -> list[tuple[int, np.ndarray]]:
    blocks, at = [], 0
    for size in (*sizes, len(x)):
        if at < len(x):
            blocks.append((at, x[at : at + size]))
        at += size
    return blocks


@pytest.mark.parametrize("shape", [(1, 1), (33, 31), (65, 3, 257)])
@pytest.mark.parametrize("block", [1, 32, 1000])
def test_against_numpy(shape: tuple[int, ...], block: int) -> None:
    a, b = pair(*shape)
    x, y = a.astype(np.float64), b.astype(np.float64)
    d = Distance()
    for first in range(0, len(a), block):
        d.add(first, a[first : first + block], b[first : first + block])
    assert d.n == a.size and not d.bad and not d.n_bad_differ
    assert d.relative == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(y))
    assert d.cosine == pytest.approx((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
    where = np.unravel_index(np.abs(x - y).argmax(), x.shape)
    assert (d.token, *d.element) == where and d.largest == np.abs(x - y)[where]
    assert (d.value_a, d.value_b) == (a[where], b[where])
    norms = np.linalg.norm(y.reshape(len(y), -1), axis=1)
    errors = np.linalg.norm((x - y).reshape(len(y), -1), axis=1)
    assert d.errors == pytest.approx(errors / np.maximum(norms, np.median(norms)))
    assert d.worst == d.errors.max() and d.errors[d.worst_token] == d.worst


def test_one_wrong_token_of_many_is_seen() -> None:
    a, b = pair(500, 64)
    a[321] = -a[321]
    d = Distance()
    d.add(0, a, b)
    assert d.worst == pytest.approx(2.0, abs=0.01) and d.worst_token == 321
    assert d.relative < 0.1  # where it drowns


def test_a_row_of_almost_nothing_is_no_error() -> None:
    """Its own norm would make a large one of the last bits."""
    a, b = pair(9, 64)
    a[4], b[4] = 1e-9, 2e-9
    d = Distance()
    d.add(0, a, b)
    assert d.worst < 2e-3


def test_the_same_bits() -> None:
    x = np.zeros((3, 4), np.float32)
    d = Distance()
    d.add(0, x, x)
    assert (d.relative, d.cosine, d.worst, d.largest, d.element) == (0.0, 1.0, 0.0, 0.0, (0,))


def test_what_is_not_finite() -> None:
    a, b = pair(6, 2, 5)
    a[1, 1, 2], b[1, 1, 2] = np.nan, np.nan  # the same on both sides
    a[2, 0, 3] = np.inf
    b[4, 1, 0] = -np.inf
    d = Distance()
    for first, rows in cut(a, 2, 2):
        d.add(first, rows, b[first : first + len(rows)])
    assert d.n_bad_differ == 2
    assert {bad.side: (bad.token, bad.element) for bad in d.bad} == {
        "a": (1, (1, 2)),
        "b": (1, (1, 2)),
    }
    assert d.worst < 1e-2  # of the others


def test_crests_and_cores() -> None:
    b = np.ones((3, 64), np.float32)
    b[1, 40] = 1000.0
    d = Distance()
    d.add(0, b + 1e-3, b)
    # a block's largest element over the rms, and as large as it can be with one element alone
    assert d.crests[32] == pytest.approx(np.sqrt(32), rel=1e-3)
    assert d.crests[256] == pytest.approx(np.sqrt(256), rel=1e-3)
    flat = Distance()
    flat.add(0, b[:1], b[:1])
    assert flat.crests[32] == pytest.approx(1.0)
    # without that element, the error is what it is for the other row
    assert d.core_errors[1] == pytest.approx(d.core_errors[0], rel=0.05)
    assert d.errors[1] < d.errors[0] / 10


@pytest.mark.parametrize(
    ("a", "b"), [((), ()), ((3,), (7, 1)), ((1, 1, 1), (20,)), ((2, 9), (5, 5))]
)
@pytest.mark.parametrize("offset", [0, 4, 11])
def test_rows_are_paired_however_they_are_cut(
    a: tuple[int, ...], b: tuple[int, ...], offset: int
) -> None:
    """b begins `offset` rows later."""
    x = np.arange(17)[:, None]
    late = [(first + offset, rows + offset) for first, rows in cut(x, *b)]
    seen = []
    for first, rows_a, rows_b in aligned(iter(cut(x, *a)), iter(late)):
        assert (rows_a == rows_b).all() and rows_a[0, 0] == first
        seen += rows_a[:, 0].tolist()
    assert seen == list(range(offset, 17))
