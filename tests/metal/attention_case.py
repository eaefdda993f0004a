"""Queries, and sequences in pages of a KV cache, for the tests of the attention kernels; with
float64's answer and how far float32 may be from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from kernel_args import CONST, struct
from kernels import PAGE, ULP, Pages, Step, run

SPLIT = CONST["SPLIT_PAGES"] * PAGE
"""Positions a split of attention_decode covers."""


class Case:
    """A step whose tokens are the last of some sequences: spans lists (first position, end) of
    each. Pages lie in any order over at least two slabs; k and v are what the pages hold."""

    def __init__(
        self,
        spans: Sequence[tuple[int, int]],
        n_heads: int,
        n_kv_heads: int,
        head_dim: int,
        f16: bool = False,
        size: float = 1.0,
    ):
        self.rng = rng = np.random.default_rng([head_dim, n_heads, *np.ravel(spans)])
        self.spans = spans
        max_pages = max(-(-end // PAGE) for _, end in spans)
        n_pages = max(len(spans) * max_pages, CONST["SLAB_PAGES"]) + 3
        self.pages = Pages(n_pages, n_kv_heads, head_dim, f16)
        table = rng.permutation(n_pages)[: len(spans) * max_pages].reshape(len(spans), max_pages)
        self.step = Step(
            positions=[p for span in spans for p in range(*span)],
            sequences=[s for s, span in enumerate(spans) for _ in range(*span)],
            page_table=table,
        )
        self.k, self.v = [], []
        for (_, end), row in zip(spans, table, strict=True):
            kv = size * rng.standard_normal((2, end, n_kv_heads, head_dim))
            self.pages.fill(row, *kv)
            k, v = self.pages.read(row, end)
            self.k.append(k.astype(np.float64))
            self.v.append(v.astype(np.float64))
        shape = (len(self.step.positions), n_heads, head_dim)
        self.q = (size * rng.standard_normal(shape)).astype(np.float32)
        self.scale = np.float32(head_dim**-0.5)
        self.group = n_heads // n_kv_heads

    @property
    def args(self) -> dict[str, float]:
        return {
            "n_heads": self.q.shape[1],
            "n_kv_heads": self.pages.n_kv_heads,
            "scale": self.scale,
            **self.pages.arguments,
        }

    def history(self, token: int, head: int) -> tuple[np.ndarray, np.ndarray]:
        """The keys and values that a token and head see, [position + 1, head_dim]."""
        assert self.step.sequences is not None
        sequence, n = self.step.sequences[token], self.step.positions[token] + 1
        kv_head = head // self.group
        return self.k[sequence][:n, kv_head], self.v[sequence][:n, kv_head]

    def scores(self, token: int, head: int) -> np.ndarray:
        product: np.ndarray = self.history(token, head)[0] @ self.q[token, head].astype(np.float64)
        return product

    def score_bound(self, token: int, head: int) -> float:
        """A score adds head_dim products, each rounded with its addition, in any order."""
        keys = np.abs(self.history(token, head)[0])
        largest = (keys @ np.abs(self.q[token, head].astype(np.float64))).max()
        return float((self.q.shape[2] + 2) * ULP * largest)

    def expected(self, tokens: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Outputs and bounds of these tokens, [tokens, n_heads, head_dim] and [tokens, n_heads, 1].

        A weight exp(s - maximum) is off by what its score is; by the rounding of s and of the
        difference, of numbers up to twice the largest score; and by exp, 4 units in the last
        place (MSL specification, section 8.4), here and for every page after which it shrinks.
        Numerator and denominator each take on that, and at most a rounding a position and two a
        page.
        """
        n_heads = self.q.shape[1]
        y = np.zeros((len(tokens), *self.q.shape[1:]))
        bound = np.zeros((len(tokens), n_heads, 1))
        for i, token in enumerate(tokens):
            for head in range(n_heads):
                v = self.history(token, head)[1]
                s = self.scores(token, head) * float(self.scale)
                weights = np.exp(s - s.max())
                y[i, head] = weights @ v / weights.sum()
                pages, largest = -(-len(s) // PAGE), np.abs(s).max()
                weight = self.score_bound(token, head) * float(self.scale)
                weight += ULP * (4 * largest + 8 * (pages + 2))
                bound[i, head] = 2 * (weight + ULP * (len(s) + 2 * pages + 2)) * np.abs(v).max()
        return y, bound

    def decode(
        self, tokens: Sequence[int], split: bool, group: int = 0, **mode: bool
    ) -> np.ndarray:
        """attention_decode of these tokens, and attention_reduce if split; other rows stay NaN.
        group: heads a threadgroup, if not as many as can share."""
        group = group or self.group
        longest = max(self.step.positions) + 1
        n_splits = -(-longest // SPLIT) if split else 1
        step = replace(self.step, singles=tokens, n_splits=n_splits)
        n_heads, head_dim = self.q.shape[1:]
        y = np.full_like(self.q, np.nan)
        partial = np.full((len(tokens), n_heads, n_splits, head_dim + 2), np.nan, np.float32)
        constants = {**self.pages.constants, "GROUP_HEADS": group, "SPLIT": int(split)}
        outputs = [None, partial] if split else [y, None]
        grid = (n_heads // group, len(tokens), n_splits)
        args = struct("attention_args", **self.args)
        buffers = [self.q, self.pages.table, *outputs]
        run("attention_decode", "attention_decode", args, buffers, grid, CONST["DECODE_THREADS"],
            step=step, constants=constants, pages=self.pages, **mode)  # fmt: skip
        if split:
            grid, constants = (n_heads, len(tokens)), {"HEAD_DIM": head_dim}
            run("attention_reduce", "attention_reduce", args, [partial, y], grid,
                CONST["SIMD_WIDTH"], step=step, constants=constants, **mode)  # fmt: skip
        return y

    def prefill(self, tiles: Sequence[tuple[int, int]], **mode: bool) -> np.ndarray:
        """attention_prefill of tiles (first token, count); other rows stay NaN."""
        y = np.full_like(self.q, np.nan)
        step = replace(self.step, tiles=tiles)
        args, grid = struct("attention_args", **self.args), (self.q.shape[1], len(tiles))
        buffers = [self.q, self.pages.table, y]
        run("attention_prefill", "attention_prefill", args, buffers, grid,
            CONST["PREFILL_THREADS"], step=step, constants=self.pages.constants,
            pages=self.pages, **mode)  # fmt: skip
        return y

    def unfused(self, capacity: int, **mode: bool) -> tuple[np.ndarray, np.ndarray]:
        """attention_scores' result, and what softmax and attention_mix make of it."""
        args = struct("attention_args", capacity=capacity, **self.args)
        n, n_heads, _ = self.q.shape
        scores = np.full((n, n_heads, capacity), np.nan, np.float32)
        p, y = scores.copy(), np.full_like(self.q, np.nan)
        table, constants = self.pages.table, self.pages.constants
        for file, kernel, buffers in (
            ("attention_unfused", "attention_scores", [self.q, table, scores]),
            ("softmax", "softmax", [scores, p]),
            ("attention_unfused", "attention_mix", [p, table, y]),
        ):
            run(file, kernel, args, buffers, (n_heads, n), CONST["NORM_THREADS"], step=self.step,
                constants=constants, pages=self.pages, **mode)  # fmt: skip
        return scores, y
