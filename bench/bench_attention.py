"""Attention over a cache in f16: one token after a long past, and many tokens of a prompt.

python -m pytest bench/bench_attention.py

TinyLlama's heads: 32 of 64, over 4 of keys and values. The cache holds what the op's own keys and
values are; pages that were never written are zeros, which cost the same.
"""

from __future__ import annotations

import pytest

from chains import chain, rows
from small_config import make_config
from smelt.benchmark import Work
from smelt.graph.ops import Value

N_HEADS, N_KV_HEADS, HEAD_DIM = 32, 4, 64
N_LINKS = 16
CONFIG = make_config(N_HEADS, N_KV_HEADS, HEAD_DIM)


@pytest.mark.parametrize(("n_tokens", "past"), [(1, 127), (1, 4095), (512, 0), (512, 1536)])
def test_attention(measured, isa: str, threads: int, n_tokens: int, past: int) -> None:
    kv: list[Value] = []

    def link(feed, name: str, q: Value) -> Value:
        if not kv:
            kv.extend(rows(feed, part, n_tokens, (N_KV_HEADS, HEAD_DIM)) for part in "kv")
        return feed.attention(f"{name}.", q, *kv, HEAD_DIM**-0.5, N_KV_HEADS)

    heads = {"shape": (N_HEADS, HEAD_DIM), "config": CONFIG, "fused": True}
    run = chain(N_LINKS, link, isa, threads, n_tokens, past=past, **heads)
    positions = sum(range(past + 1, past + n_tokens + 1))
    operations = 4.0 * N_HEADS * HEAD_DIM * positions * N_LINKS
    n_bytes = 2 * 2.0 * N_KV_HEADS * HEAD_DIM * (past + n_tokens)  # of a layer, from caches
    measured(run, Work(n_bytes, floating=operations))
