"""Ops that treat every element alike, of one token and of a prompt: bytes of activations a second.

python -m pytest bench/bench_elementwise.py
"""

from __future__ import annotations

import pytest

from chains import D_MODEL, chain
from smelt.benchmark import Work

N_LINKS = 64
OPS = {
    "silu": lambda feed, name, x: feed.silu(name, x),
    "gelu": lambda feed, name, x: feed.gelu(name, x),
    "sigmoid": lambda feed, name, x: feed.sigmoid(name, x),
    "tanh": lambda feed, name, x: feed.tanh(name, x),
    "relu": lambda feed, name, x: feed.relu(name, x),
    "scale": lambda feed, name, x: feed.scale(name, x, 1.0),
    "mul": lambda feed, name, x: feed.mul(name, x, x),
    "add": lambda feed, name, x: feed.add(name, x, x),
}


@pytest.mark.parametrize("n_tokens", [1, 512])
@pytest.mark.parametrize("op", OPS)
def test_elementwise(measured, op: str, isa: str, threads: int, n_tokens: int) -> None:
    run = chain(N_LINKS, OPS[op], isa, threads, n_tokens)
    elements = float(D_MODEL * n_tokens * N_LINKS)
    measured(run, Work(8 * elements), in_caches=True)
