"""SMELT_DEBUG=1: what every op of a step made, layer by layer, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .trace.statistics import statistics_of, summary
from .trace.values import outputs

if TYPE_CHECKING:
    import numpy as np

    from .backends.base import LoadedProgram, Step

__all__ = ["log_step"]


def log_step(loaded: LoadedProgram, step: Step, logits: np.ndarray) -> None:
    """Prints a line a value: name, shape, root mean square, smallest, largest, and a count of
    NaN and infinities if there are any. The program must have been built with reuse=False."""
    first, last = step.positions[0], step.positions[-1]
    print(f"step: {len(step.token_ids)} tokens, positions {first} to {last}", file=sys.stderr)
    for op, value, x in outputs(loaded, step, logits):
        if len(x):
            numbers = summary(statistics_of(x))
            shown = f"{value.name:<22} {op.kind:<16} {x.shape!s:<16} {numbers}"
            print(f"  {shown}", file=sys.stderr)
