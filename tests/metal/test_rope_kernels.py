"""rope.metal: rope, kv_write, and rope_kv_write, which is both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import PAGE, ULP, Pages, Step, assert_same_bits, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
LANES = CONST["SIMD_WIDTH"]
EPS = 1e-5
HEADS = [(1, 1, 2, 2), (3, 1, 8, 4), (4, 2, 48, 48), (7, 1, 80, 20), (2, 1, 256, 64)]
"""n_heads, n_kv_heads, head_dim, rotary_dim."""


class Case:
    """Tokens of three sequences whose pages lie in any order over two slabs; not all are new."""

    def __init__(self, n_heads: int, n_kv_heads: int, head_dim: int, rotary_dim: int, f16: bool):
        self.rng = np.random.default_rng(head_dim + n_heads)
        positions = [*range(5), *range(30, 66), 100]
        sequences = [2] * 5 + [0] * 36 + [1]
        self.pages = Pages(20, n_kv_heads, head_dim, f16)
        page_table = self.rng.permutation(20)[:12].reshape(3, 4)
        self.step = Step(positions=positions, sequences=sequences, page_table=page_table)
        self.n = len(positions)
        self.rotary_dim = rotary_dim
        self.q = self.rows(n_heads, head_dim)
        self.k, self.v = self.rows(n_kv_heads, head_dim), self.rows(n_kv_heads, head_dim)
        angle = self.rng.uniform(0, 7, (self.n, rotary_dim // 2))
        self.table = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)

    def rows(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal((self.n, *shape)).astype(np.float32)

    def args(self, neox: bool = False, heads: int | None = None) -> np.ndarray:
        return struct(
            "attention_args",
            n_heads=self.q.shape[1] if heads is None else heads,
            n_kv_heads=self.k.shape[1],
            rotary_dim=self.rotary_dim,
            neox=neox,
            eps=EPS,
            **self.pages.arguments,
        )

    def rope(self, x: np.ndarray, neox: bool, checked: bool = False) -> np.ndarray:
        y = np.full_like(x, np.nan)
        constants = {"HEAD_DIM": x.shape[2]}
        run("rope", "rope", self.args(neox, x.shape[1]), [x, self.table, y], (x.shape[1], self.n),
            LANES, constants=constants, checked=checked)  # fmt: skip
        return y

    def kv_write(self, k: np.ndarray, checked: bool = False) -> None:
        buffers = [k, self.v, self.pages.table]
        run("rope", "kv_write", self.args(), buffers, (k.shape[1], self.n), LANES, step=self.step,
            constants=self.pages.constants, pages=self.pages, checked=checked)  # fmt: skip

    def rope_kv_write(
        self, neox: bool, checked: bool = False, gains: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        y = np.full_like(self.q, np.nan)
        buffers = [self.q, self.k, self.v, self.table, y, self.pages.table, *gains]
        grid = (self.q.shape[1] + self.k.shape[1], self.n)
        constants = {**self.pages.constants, "HAS_NORM": bool(gains)}
        run("rope", "rope_kv_write", self.args(neox), buffers, grid, LANES, step=self.step,
            constants=constants, pages=self.pages, checked=checked)  # fmt: skip
        return y

    def contents(self) -> np.ndarray:
        """Every page, [20, 2, PAGE, n_kv_heads, head_dim]."""
        shape = (PAGE, *self.k.shape[1:])
        return np.stack([[x.reshape(shape) for x in self.pages.page(i)] for i in range(20)])

    def expected_contents(self, k: np.ndarray) -> np.ndarray:
        """What the pages hold after k and v were written: NaN wherever nothing was."""
        shape = (20, 2, PAGE, *k.shape[1:])
        wanted = np.full(shape, np.nan, self.pages.dtype)
        assert self.step.page_table is not None and self.step.sequences is not None
        places = zip(self.step.positions, self.step.sequences, strict=True)
        for t, (position, sequence) in enumerate(places):
            page = self.step.page_table[sequence, position // PAGE]
            wanted[page, 0, position % PAGE], wanted[page, 1, position % PAGE] = k[t], self.v[t]
        return wanted


def turned(case: Case, x: np.ndarray, neox: bool) -> np.ndarray:
    y, n = x.astype(np.float64), case.rotary_dim
    cos, sin = (case.table[:, None, :, i].astype(np.float64) for i in range(2))
    first, second = (slice(n // 2), slice(n // 2, n)) if neox else (slice(0, n, 2), slice(1, n, 2))
    a, b = y[..., first].copy(), y[..., second].copy()
    y[..., first], y[..., second] = a * cos - b * sin, a * sin + b * cos
    return y


@pytest.mark.parametrize("neox", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_rope_turns_pairs(heads: tuple[int, int, int, int], neox: bool) -> None:
    """A product and the fused rest are rounded, both at most |a| + |b|; the rest stays."""
    case = Case(*heads, False)
    got = case.rope(case.q, neox)
    largest = np.abs(case.q).max(axis=-1, keepdims=True)
    assert_within(got, turned(case, case.q, neox), 4 * ULP * largest)
    assert_same_bits(got[..., case.rotary_dim :], case.q[..., case.rotary_dim :])


@pytest.mark.parametrize("f16", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_kv_write_touches_its_positions_alone(heads: tuple[int, int, int, int], f16: bool) -> None:
    case = Case(*heads, f16)
    case.k.reshape(-1)[:2] = [1e6, -(2.0**-25)]  # beyond half: infinity; half of its smallest: 0
    case.kv_write(case.k)
    with np.errstate(over="ignore"):
        wanted = case.expected_contents(case.k)
    assert_same_bits(case.contents(), wanted)


@pytest.mark.parametrize("neox", [False, True])
@pytest.mark.parametrize("f16", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_fused_equals_unfused(heads: tuple[int, int, int, int], f16: bool, neox: bool) -> None:
    case, unfused = Case(*heads, f16), Case(*heads, f16)
    unfused.kv_write(unfused.rope(unfused.k, neox))
    assert_same_bits(case.rope_kv_write(neox), unfused.rope(unfused.q, neox))
    assert_same_bits(case.contents(), unfused.contents())


def normed(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    y: np.ndarray = wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + EPS) * gain
    return y


@pytest.mark.parametrize("neox", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_heads_are_normalised_before_they_turn(
    heads: tuple[int, int, int, int], neox: bool
) -> None:
    """The squares of a head are summed in head_dim / 32 steps a lane and 5 between lanes; half of
    that error reaches the root, then come a division, eps, the root, its inverse and two products,
    and the turning as above, of numbers that large."""
    case = Case(*heads, False)
    rng = np.random.default_rng(2)
    gains = rng.uniform(-2, 2, (2, heads[2])).astype(np.float32)
    got = case.rope_kv_write(neox, gains=list(gains))
    bound = ((-(-heads[2] // 32) + 5 + 2) / 2 + 4 + 4) * ULP
    q, k = normed(case.q, gains[0]), normed(case.k, gains[1])
    assert_within(got, turned(case, q, neox), bound * np.abs(q).max(axis=-1, keepdims=True))
    wanted = case.expected_contents(turned(case, k, neox))
    there = ~np.isnan(wanted)
    assert_within(case.contents()[there], wanted[there], bound * np.abs(k).max())
    assert np.isnan(case.contents()[~there]).all()


def test_checked() -> None:
    heads = (4, 2, 48, 48)
    plain, checked = Case(*heads, True), Case(*heads, True)
    assert_same_bits(checked.rope_kv_write(True, checked=True), plain.rope_kv_write(True))
    assert_same_bits(checked.contents(), plain.contents())
    checked.kv_write(checked.rope(checked.k, True, checked=True), checked=True)
    assert_same_bits(checked.contents(), plain.contents())
    gains = list(plain.rows(1, 48)[:2, 0])
    with_norms = (case.rope_kv_write(True, case is checked, gains) for case in (checked, plain))
    assert_same_bits(*with_norms)
