"""The values of a step that a program has just run."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..backends.base import LoadedProgram, Step
    from ..graph.ops import Op, Value

__all__ = ["outputs"]


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
