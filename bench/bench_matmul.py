"""Many tokens times quantised matrices, which is what prefill and batches do: operations a second.

python -m pytest bench/bench_matmul.py --isa avx512 -k "512 and (q4_k or q6_k)"
"""

from __future__ import annotations

import pytest

from chains import D_MODEL, chain, matrices
from smelt.benchmark import Work
from smelt.formats import FORMATS

N_MATRICES = 4


@pytest.mark.parametrize("n_tokens", [4, 16, 512])
@pytest.mark.parametrize("format", FORMATS)
def test_matmul(measured, format: str, isa: str, threads: int, n_tokens: int) -> None:
    (weight,) = matrices(format, 1)
    run = chain(
        N_MATRICES, lambda feed, name, x: feed.matmul(name, x, weight), isa, threads, n_tokens
    )
    operations = 2.0 * D_MODEL * D_MODEL * N_MATRICES * n_tokens
    if FORMATS[format].block_weights == 1:
        measured(run, Work(floating=operations))
    else:
        measured(run, Work(integer=operations))
