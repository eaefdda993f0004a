"""Attention over paged keys and values on the CPU device, fused and in its three steps.

The bound. A score sums head_dim products one after the other: it is off by at most
delta = (head_dim + 3) * 2^-24 * scale * sum|q k|, which moves a softmax weight by the factor
e^(2 delta) at most, once itself and once in the sum. exp (2 units in the last place), the sum over
n positions and one shrinking a page add n + 16 + 4 n / 32 roundings. The result is a mean of
values, so |y - y_ref| <= sum p|v| * ((e^(2 delta) - 1) + those roundings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from harness import (
    ISAS,
    ULP,
    Feed,
    Runner,
    assert_same_bits,
    assert_within,
    cpu_device,
    make_step,
    reference_device,
)

from small_config import make_config
from smelt.backends.base import PAGE_TOKENS, Step
from smelt.graph.ops import Op

CONTEXTS = (1, 31, 32, 33, 100)
N_PAGES = 20
HEAD_DIMS = (1, 8, 16, 20, 64, 128)
SHAPES = [  # n_heads, n_kv_heads, head_dim: all groupings, all widths, and the extremes together
    *((*heads, 20) for heads in ((1, 1), (2, 1), (2, 2), (4, 4), (8, 1), (8, 2), (8, 4), (8, 8))),
    *((4, 2, head_dim) for head_dim in HEAD_DIMS),
    *((1, 1, 1), (8, 8, 1), (1, 1, 128), (4, 1, 128)),
]


@dataclass
class Case:
    """Queries, keys and values of several sequences, laid one after the other."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    lengths: Sequence[int] = CONTEXTS
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = sum(self.lengths)
        self.n_tokens = n
        self.config = make_config(self.n_heads, self.n_kv_heads, self.head_dim)
        self.capacity = -(-max(self.lengths) // PAGE_TOKENS) * PAGE_TOKENS
        heads = (self.n_heads, self.n_kv_heads, self.n_kv_heads)
        self.q, self.k, self.v = (
            rng.standard_normal((n, h, self.head_dim)).astype(np.float32) for h in heads
        )
        self.q *= rng.choice([0.3, 1, 10], (n, 1, 1)).astype(np.float32)  # flat and steep softmax
        self.scale = self.head_dim**-0.5
        self.positions = np.concatenate([np.arange(n) for n in self.lengths])
        self.sequences = np.repeat(np.arange(len(self.lengths)), self.lengths)
        shuffled = rng.permutation(N_PAGES)  # no page beside its neighbour, some unused
        self.page_table = np.zeros((len(self.lengths), self.capacity // PAGE_TOKENS), np.int32)
        for table, length in zip(self.page_table, self.lengths, strict=True):
            used = -(-length // PAGE_TOKENS)
            table[:used], shuffled = shuffled[:used], shuffled[used:]

    def record(self, stop_after: str = "attention_mix") -> list[Op]:
        feed = Feed(self.config, self.capacity)
        with feed.layer(0):
            q, k, v = (feed.rows(name, getattr(self, name)) for name in "qkv")
            feed.attention("", q, k, v, self.scale, self.n_kv_heads)
        while feed.ops[-1].kind != stop_after:
            feed.ops.pop()
        return feed.ops

    def step(self, rows: slice = slice(None)) -> Step:
        first = range(self.n_tokens)[rows][0]
        positions = self.positions[rows]
        return make_step(len(positions), positions, self.sequences[rows], self.page_table, first)

    def runner(
        self,
        isa: str = ISAS[0],
        threads: int = 1,
        *,
        kv_type: str = "f32",
        fused: bool = True,
        stop_after: str = "attention_mix",
    ) -> Runner:
        ops = self.record(stop_after)
        return Runner(
            cpu_device(isa, threads),
            ops,
            self.n_tokens,
            config=self.config,
            kv_type=kv_type,
            fused=fused,
            n_pages=N_PAGES,
        )

    def exact(self, stop_after: str = "attention_mix") -> np.ndarray:
        runner = Runner(
            reference_device(),
            self.record(stop_after),
            self.n_tokens,
            config=self.config,
            n_pages=N_PAGES,
        )
        return runner(self.step()).reshape(self.n_tokens, -1)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(delta, bound): of the scores [n_tokens, n_heads, 1] and of the output's elements."""
        delta = np.empty((self.n_tokens, self.n_heads, 1))
        bound = np.empty((self.n_tokens, self.n_heads, self.head_dim))
        group = self.n_heads // self.n_kv_heads
        wide = {name: getattr(self, name).astype(np.float64) for name in "qkv"}
        for t in range(self.n_tokens):
            seen = slice(t - self.positions[t], t + 1)
            n = self.positions[t] + 1
            k, v = (np.repeat(wide[name][seen], group, axis=1) for name in "kv")
            scores = np.einsum("hd,phd->hp", wide["q"][t], k) * self.scale
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            sizes = np.einsum("hd,phd->hp", np.abs(wide["q"][t]), np.abs(k)) * self.scale
            delta[t] = (self.head_dim + 3) * ULP * sizes.max(axis=1, keepdims=True)
            roundings = (n + 16 + n / 8) * ULP
            bound[t] = np.einsum("hp,phd->hd", p, np.abs(v)) * (np.expm1(2 * delta[t]) + roundings)
        return delta, bound.reshape(self.n_tokens, -1)


@pytest.mark.parametrize(("n_heads", "n_kv_heads", "head_dim"), SHAPES)
def test_attention_is_within_its_bound_and_the_same_everywhere(
    n_heads: int, n_kv_heads: int, head_dim: int
) -> None:
    case = Case(n_heads, n_kv_heads, head_dim)
    exact, (_, bound) = case.exact(), case.bounds()
    for fused in (True, False):
        plain = case.runner(fused=fused)(case.step())
        assert_within(plain, exact, bound, f"fused {fused}")
        for isa in ISAS[1:]:
            assert_same_bits(case.runner(isa, fused=fused)(case.step()), plain, isa)
        y = case.runner(ISAS[-1], 3, fused=fused)(case.step())
        assert_same_bits(y, plain, "3 threads")


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_a_cache_in_f16_rounds_keys_and_values_and_nothing_else(head_dim: int) -> None:
    case, rounded = Case(2, 1, head_dim), Case(2, 1, head_dim)
    rounded.k = case.k.astype(np.float16).astype(np.float32)
    rounded.v = case.v.astype(np.float16).astype(np.float32)
    for fused in (True, False):
        wanted = rounded.runner(fused=fused)(case.step())
        for isa in ISAS:
            y = case.runner(isa, kv_type="f16", fused=fused)(case.step())
            assert_same_bits(y, wanted, f"{isa}, fused {fused}")


@pytest.mark.parametrize("stop_after", ["attention_scores", "softmax"])
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_scores_and_weights_can_be_looked_at(stop_after: str, kv_type: str) -> None:
    """Beside the reference's, with zeros past the token's own position."""
    case = Case(4, 2, 20)
    if kv_type == "f16":
        case.k = case.k.astype(np.float16).astype(np.float32)
    delta, _ = case.bounds()
    exact = case.exact(stop_after)
    roundings = (case.capacity + 16) * ULP
    slack = delta / case.scale if stop_after == "attention_scores" else np.expm1(2 * delta)
    wide = exact.reshape(case.n_tokens, case.n_heads, -1)
    bound = slack + roundings if stop_after == "attention_scores" else wide * (slack + roundings)
    bound = np.broadcast_to(bound, wide.shape).reshape(exact.shape) + 1e-37
    runner = case.runner(kv_type=kv_type, fused=False, stop_after=stop_after)
    plain = runner(case.step())
    assert_within(plain, exact, bound)
    rows = plain.reshape(case.n_tokens, case.n_heads, -1)
    for t in (0, 1, case.n_tokens - 1):
        assert not rows[t, :, case.positions[t] + 1 :].any()
    for isa in ISAS:
        runner = case.runner(isa, 2, kv_type=kv_type, fused=False, stop_after=stop_after)
        assert_same_bits(runner(case.step()), plain, isa)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_what_a_page_held_before_does_not_leak(kv_type: str, isa: str, fused: bool) -> None:
    """Every slot of every page is first filled with NaN, then with infinities, by a sequence that
    is gone: what is later written must be all that is read."""
    case = Case(4, 2, 20)
    clean = case.runner(isa, kv_type=kv_type, fused=fused)(case.step())
    runner = case.runner(isa, 2, kv_type=kv_type, fused=fused)
    for bad in (np.nan, np.inf):
        foul = Case(4, 2, 20, lengths=(N_PAGES * PAGE_TOKENS,))
        foul.k[:], foul.v[:] = bad, bad
        fouling = foul.runner(isa, kv_type=kv_type, fused=fused)
        fouling.pool = runner.pool
        assert not np.isfinite(fouling(foul.step())).any()
        assert_same_bits(runner(case.step()), clean, f"after {bad}")


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_cut_into_steps_does_not_matter(kv_type: str, fused: bool) -> None:
    """All at once, and in steps of 1, 7, 16 and 64 tokens that run across sequences."""
    case = Case(4, 2, 20, lengths=(33, 1, 100, 32))
    whole = case.runner(kv_type=kv_type, fused=fused)(case.step())
    for isa, threads in ((ISAS[-1], 1), (ISAS[-1], 2)):
        for size in (1, 7, 16, 64):
            runner = case.runner(isa, threads, kv_type=kv_type, fused=fused)
            parts = [
                runner(case.step(slice(at, at + size))) for at in range(0, case.n_tokens, size)
            ]
            assert_same_bits(np.concatenate(parts), whole, f"steps of {size}")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("isa", ISAS)
def test_nan_reaches_exactly_those_who_see_it(isa: str, fused: bool) -> None:
    """A NaN in a token's keys poisons it and the later tokens of its sequence, one in its queries
    only itself."""
    case = Case(4, 2, 20, lengths=(40, 40))
    clean = case.runner(isa, fused=fused)(case.step())
    case.k[35], case.q[5] = np.nan, np.inf
    y = case.runner(isa, 2, fused=fused)(case.step())
    poisoned = np.isin(np.arange(80), [5, 35, 36, 37, 38, 39])
    assert not np.isfinite(y[poisoned]).any()
    assert_same_bits(y[~poisoned], clean[~poisoned])


def test_scores_far_apart_and_equal_ones() -> None:
    """One key that outweighs all others by e^300, and keys that are all the same."""
    case = Case(1, 1, 16, lengths=(100,))
    case.q[:] = 1.0
    case.k[:] = 0.0
    case.k[40] = 80.0  # a score of 320
    y = case.runner()(case.step())
    means = np.cumsum(case.v[:, 0].astype(np.float64), axis=0) / np.arange(1, 101)[:, None]
    np.testing.assert_allclose(y[:40], means[:40], rtol=1e-5, atol=1e-6)
    assert_same_bits(y[40:], np.repeat(case.v[40], 60, axis=0))
