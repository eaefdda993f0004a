"""One token times quantised matrices, which is what decode does: bytes of weights a second.

    python -m pytest bench/bench_matvec.py --isa avx512 -k "q4_k or q6_k"

The matrices are 128 MB in all, more than caches hold, so that they come from memory as in a model.
"""

from __future__ import annotations

import pytest

from chains import D_MODEL, chain, matrices
from smelt.benchmark import Work
from smelt.formats import FORMATS

N_BYTES = 128_000_000


@pytest.mark.parametrize("format", FORMATS)
def test_matvec(measured, format: str, isa: str, threads: int) -> None:
    weights = matrices(format, N_BYTES)
    remaining = iter(weights)
    run = chain(
        len(weights), lambda feed, name, x: feed.matmul(name, x, next(remaining)), isa, threads, 1
    )
    operations = 2.0 * D_MODEL * D_MODEL * len(weights)
    n_bytes = sum(weight.nbytes for weight in weights)
    if FORMATS[format].block_weights == 1:
        measured(run, Work(n_bytes, floating=operations))
    else:
        measured(run, Work(n_bytes, integer=operations))
