"""What a report shows, as numbers: a prompt evaluated, traced and looked at from each side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..tokenizer.labels import token_label
from .attention import Habit, Head, choose_heads, habits
from .depth import LayerRms, added_values, band, stream_values
from .lens import Lens, logit_lens
from .surprise import Surprise, measure_surprise

if TYPE_CHECKING:
    from ..engine import Engine
    from ..trace import Run

__all__ = ["Findings", "examine"]

LENS_TOKENS = 14  # columns of the logit lens: as many as a page shows
N_HEADS = 6
LABEL = 12  # letters of a token on an axis


@dataclass(frozen=True, eq=False)
class Findings:
    """One prompt seen from all sides.

    ids: its tokens; labels: the same as a person reads them; habits: of every head; maps: of some
    heads their habit and attention [n, n].
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    surprise: Surprise
    rms: LayerRms
    lens: Lens
    habits: dict[Head, Habit]
    maps: tuple[tuple[Head, Habit, np.ndarray], ...]


def examine(
    engine: Engine,
    ids: Sequence[int],
    heads: Sequence[Head] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Everything a report shows about a prompt.

    heads: whose attention is shown; None takes six that look in different places. Values wait in a
    temporary file, not in memory. Raises what Engine.trace does.
    """
    ops = engine.model.record(len(ids))
    streams, added = stream_values(ops), added_values(ops)
    softmax = {op.layer: op.outputs[0] for op in ops if op.kind == "softmax"}
    wanted = [*streams, *(value for pair in added for value in pair), *softmax.values()]
    scored = measure_surprise(engine, ids)
    with TemporaryDirectory(prefix="smelt-") as folder:
        names = [value.name for value in wanted]
        file = Path(folder) / "run.npz"
        with engine.trace(
            ids, pattern=names, path=file, fused=False, last_logits=True, progress=progress
        ) as run:
            rms = LayerRms(
                band(run[value.name] for value in streams),
                band(run[attention.name] for attention, _ in added),
                band(run[feed_forward.name] for _, feed_forward in added),
            )
            last = [run[value.name][-LENS_TOKENS:].copy() for value in streams]
            lens = logit_lens(engine, last, ids[-LENS_TOKENS:])
            attention = {layer: value.name for layer, value in softmax.items()}
            known, maps = _attention(run, attention, heads)
    labels = tuple(token_label(engine.tokenizer, token, LABEL) for token in ids)
    return Findings(tuple(ids), labels, scored, rms, lens, known, maps)


def _attention(
    run: Run, names: dict[int, str], heads: Sequence[Head] | None
) -> tuple[dict[Head, Habit], tuple[tuple[Head, Habit, np.ndarray], ...]]:
    """All heads' habits and the maps of some; names: of the softmax values [n, n_heads, n]."""
    known: dict[Head, Habit] = {}
    for layer, name in names.items():
        known |= habits(layer, run[name])
    chosen = choose_heads(known, N_HEADS) if heads is None else heads
    maps = tuple((head, known[head], run[names[head[0]]][:, head[1]].copy()) for head in chosen)
    return known, maps
