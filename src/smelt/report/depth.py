"""How large activations are, layer by layer, and how far two runs are apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from ..diff import Diff
    from ..graph.ops import Op, Value
    from ..trace import Run

__all__ = [
    "Band",
    "ErrorByDepth",
    "LayerRms",
    "added_values",
    "band",
    "error_by_depth",
    "row_rms",
    "stream_values",
]


@dataclass(frozen=True, eq=False)
class Band:
    """Of one kind of activation at every depth: the median over tokens of its rms, the smallest
    and the largest. Each float64 [n]."""

    middle: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


@dataclass(frozen=True)
class LayerRms:
    """The residual stream before the first layer and after each, [n_layers + 1], and what
    attention and feed-forward blocks add to it, [n_layers] each."""

    stream: Band
    attention: Band
    feed_forward: Band


@dataclass(frozen=True)
class ErrorByDepth:
    """Two runs compared op by op, in the program's order.

    errors: of the token that differs most, infinite where one run alone has NaN or infinity there;
    tolerance: what each may be, given the op's inputs;
    rms_a, rms_b: of the same values; first: index of the first op out of tolerance, or None.
    """

    name_a: str
    name_b: str
    ops: Sequence[str]
    layers: Sequence[int]
    errors: Sequence[float]
    rms_a: Sequence[float]
    rms_b: Sequence[float]
    tolerance: Sequence[float]
    first: int | None = None


def error_by_depth(diff: Diff) -> ErrorByDepth:
    """What `smelt diff` found, as numbers to draw; ops that only one side has are left out."""
    compared = [d for d in diff.differences if d.distance.n]

    def rms(squares: Sequence[np.ndarray], n: int) -> float:
        return float(np.sqrt(sum(float(part.sum()) for part in squares) / n))

    return ErrorByDepth(
        name_a=_name(diff.a),
        name_b=_name(diff.b),
        ops=[d.value.name for d in compared],
        layers=[d.value.layer for d in compared],
        errors=[np.inf if d.distance.n_bad_differ else d.error for d in compared],
        rms_a=[rms(d.distance.norm2_a, d.distance.n) for d in compared],
        rms_b=[rms(d.distance.norm2_b, d.distance.n) for d in compared],
        tolerance=[d.allowed for d in compared],
        first=next((at for at, d in enumerate(compared) if d.verdict == "wrong"), None),
    )


def _name(run: Run) -> str:
    device = re.sub(r", \d+ threads$", "", run.info.device)  # which change no number
    return f"{Path(run.info.model).name} on {device}{', fused' if run.info.fused else ''}"


def stream_values(ops: Sequence[Op]) -> list[Value]:
    """Of recorded plain ops the residual stream's values: before the layers and after each."""
    layers = [op.layer for op in ops]
    ends = [len(layers) - 1 - layers[::-1].index(n) for n in range(max(layers) + 1)]
    return [ops[layers.index(0)].inputs[0], *(ops[end].outputs[0] for end in ends)]


def added_values(ops: Sequence[Op]) -> list[tuple[Value, Value]]:
    """What each layer adds to the residual stream: by attention, and by feed-forward.

    UnsupportedModelError where a layer does not add twice.
    """
    streams = stream_values(ops)
    pairs = []
    for layer, start in enumerate(streams[:-1]):
        current, added = start, []
        for op in ops:
            if op.layer == layer and op.kind == "add" and current in op.inputs:
                added += [value for value in op.inputs if value is not current]
                current = op.outputs[0]
        if len(added) != 2 or current is not streams[layer + 1]:
            raise UnsupportedModelError(
                f"layer {layer}: expected that attention and feed-forward each add to the residual "
                f"stream once, found {len(added)} additions"
            )
        pairs.append((added[0], added[1]))
    return pairs


def row_rms(x: np.ndarray) -> np.ndarray:
    """Root mean square of every token's row: float64 [n] of [n, ...]."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    result: np.ndarray = np.sqrt(np.mean(rows * rows, axis=1))
    return result


def band(values: Iterable[np.ndarray]) -> Band:
    """The Band of activations [n_tokens, ...], one a depth."""
    rms = [row_rms(x) for x in values]
    return Band(*(np.array([f(r) for r in rms]) for f in (np.median, np.min, np.max)))
