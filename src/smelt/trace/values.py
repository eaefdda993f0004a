"""The values of a step that a program has just run: in the arena, and in the pages of the cache."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..backends.base import PAGE_TOKENS
from ..graph.placement import WRITES_PAGES

if TYPE_CHECKING:
    from ..backends.base import LoadedProgram, PagePool, Step
    from ..graph.ops import Op, Value

__all__ = ["cache_names", "cached", "outputs"]


def outputs(
    loaded: LoadedProgram, step: Step, logits: np.ndarray, chosen: Container[str] | None = None
) -> Iterator[tuple[Op, Value, np.ndarray]]:
    """What every op made, in program order: [rows, *shape], of the names in `chosen`, or of all.

    logits: what the step gave. The program must have been built to keep what is chosen.
    """
    n_rows = {"tokens": len(step.token_ids), "logits": len(step.logit_rows)}
    for op in loaded.program.ops:
        for value in op.outputs:
            if chosen is not None and value.name not in chosen:
                continue
            if value in loaded.program.places:  # all are, but the last: the logits
                yield op, value, loaded.read(value, n_rows[value.rows])
            else:
                yield op, value, logits.reshape(-1, *value.shape)


def cache_names(layer: int) -> tuple[str, str]:
    """Of the keys and of the values in the pages of a layer."""
    return f"blk.{layer}.k_cache", f"blk.{layer}.v_cache"


def cached(
    loaded: LoadedProgram, pool: PagePool, step: Step, chosen: Container[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Keys and values that a step wrote to the pages, as they are there: of each layer whose names
    are chosen, [n_tokens, n_kv_heads, head_dim]. For a pool that is readable, and a step of one
    sequence."""
    first, end = step.positions[0], step.positions[-1] + 1
    parts = [
        (step.page_table[0][at // PAGE_TOKENS], max(first - at, 0), min(end - at, PAGE_TOKENS))
        for at in range(first - first % PAGE_TOKENS, end, PAGE_TOKENS)
    ]
    for op in loaded.program.ops:
        names = cache_names(op.layer)
        if op.kind in WRITES_PAGES and any(name in chosen for name in names):
            read = (pool.read(op.layer, *part) for part in parts)
            for name, blocks in zip(names, zip(*read, strict=True), strict=True):
                if name in chosen:
                    yield name, blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
