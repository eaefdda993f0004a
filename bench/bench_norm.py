"""Norms of one token and of a prompt: bytes of activations a second, which lie in caches.

python -m pytest bench/bench_norm.py
"""

from __future__ import annotations

import pytest

from chains import D_MODEL, chain, ones
from smelt.benchmark import Work

N_LINKS = 64
OPS = {
    "rms_norm": lambda feed, name, x: feed.rms_norm(name, x, ones(), 1e-5),
    "layer_norm": lambda feed, name, x: feed.layer_norm(name, x, ones(), ones(), 1e-5),
}


@pytest.mark.parametrize("n_tokens", [1, 512])
@pytest.mark.parametrize("op", OPS)
def test_norm(measured, op: str, isa: str, threads: int, n_tokens: int) -> None:
    run = chain(N_LINKS, OPS[op], isa, threads, n_tokens)
    elements = float(D_MODEL * n_tokens * N_LINKS)
    measured(run, Work(8 * elements), in_caches=True)
