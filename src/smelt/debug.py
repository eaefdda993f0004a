"""SMELT_DEBUG=1: what every op of a step made, layer by layer, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .backends.base import LoadedProgram, Step

__all__ = ["log_step"]


def log_step(loaded: LoadedProgram, step: Step, logits: np.ndarray) -> None:
    """Prints a line a value: name, shape, root mean square, smallest, largest, and a count of
    NaN and infinities if there are any. The program must have been built with reuse=False."""
    rows = {"tokens": len(step.token_ids), "logits": len(step.logit_rows)}
    first, last = step.positions[0], step.positions[-1]
    print(f"step: {rows['tokens']} tokens, positions {first} to {last}", file=sys.stderr)
    for op in loaded.program.ops:
        for value in op.outputs:
            if not rows[value.rows]:
                continue
            placed = value in loaded.program.places  # all are, but the last: the logits
            x = (loaded.read(value, rows[value.rows]) if placed else logits).astype(np.float64)
            finite = x[np.isfinite(x)]
            bad = x.size - finite.size
            summary = (
                f"rms {np.sqrt(np.mean(finite**2)):10.4g}  min {finite.min():10.4g}  "
                f"max {finite.max():10.4g}"
                if finite.size
                else "no finite number"
            )
            note = f"  {bad} NaN or infinite" if bad else ""
            print(
                f"  {value.name:<22} {op.kind:<16} {x.shape!s:<16} {summary}{note}",
                file=sys.stderr,
            )
