"""The rotation of queries, both pairings, of one token and of a prompt.

python -m pytest bench/bench_rope.py
"""

from __future__ import annotations

import numpy as np
import pytest

from chains import D_MODEL, chain
from smelt.benchmark import Work
from smelt.graph.ops import Value, Weight

HEAD_DIM = 64
N_LINKS = 64
FREQUENCIES = Weight("frequencies", (HEAD_DIM // 2,), "f64", 0.5 ** np.arange(HEAD_DIM / 2))


@pytest.mark.parametrize("n_tokens", [1, 512])
@pytest.mark.parametrize("neox", [False, True], ids=["pairs", "neox"])
def test_rope(measured, neox: bool, isa: str, threads: int, n_tokens: int) -> None:
    table: list[Value] = []

    def link(feed, name: str, x: Value) -> Value:
        if not table:
            table.append(feed.rope_table("table", FREQUENCIES, 1.0))
        return feed.rope(name, x, table[0], neox)

    run = chain(N_LINKS, link, isa, threads, n_tokens, shape=(D_MODEL // HEAD_DIM, HEAD_DIM))
    elements = float(D_MODEL * n_tokens * N_LINKS)
    measured(run, Work(8 * elements), in_caches=True)
