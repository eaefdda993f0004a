"""Where attention heads look, and a choice of heads that look in different places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import SmeltError

__all__ = ["Habit", "Head", "choose_heads", "habit", "habits", "parse_head"]

Head = tuple[int, int]
"""(layer, head), both from 0."""


@dataclass(frozen=True)
class Habit:
    """Mean shares of a head's attention over the tokens of a text, which sum to 1.

    first: on the first token; itself: on the token that looks; previous: on the one before it;
    nearby: on the three before that; far: on the rest. The first token itself, which can only look
    at itself, is left out. A token that is two things at once counts as the first of this list.
    """

    first: float
    itself: float
    previous: float
    nearby: float
    far: float

    def describe(self) -> str:
        """The two largest shares in words: "first token 62 %, previous token 20 %"."""
        words = {
            "first": "first token",
            "itself": "itself",
            "previous": "previous token",
            "nearby": "2 to 4 back",
            "far": "further back",
        }
        shares = sorted(((share, name) for name, share in vars(self).items()), reverse=True)
        return ", ".join(f"{words[name]} {100 * share:.0f} %" for share, name in shares[:2])


def habit(weights: np.ndarray) -> Habit:
    """The habit of a head from its attention: [n, n], row t the weights of token t on 0 to t."""
    n = len(weights)
    if n < 2:
        return Habit(1.0, 0.0, 0.0, 0.0, 0.0)
    rows = weights[1:].astype(np.float64)
    back = np.arange(1, n)[:, None] - np.arange(n)[None, :]
    is_first = np.zeros(back.shape, bool)
    is_first[:, 0] = True
    kinds = [is_first, back == 0, back == 1, (back >= 2) & (back <= 4), back > 4]
    shares, taken = [], np.zeros(back.shape, bool)
    for kind in kinds:
        shares.append(float(np.where(kind & ~taken, rows, 0.0).sum(axis=1).mean()))
        taken |= kind
    return Habit(*shares)


def habits(layer: int, weights: np.ndarray) -> dict[Head, Habit]:
    """The habits of a layer's heads from its attention, [n_tokens, n_heads, n_tokens]."""
    return {(layer, head): habit(weights[:, head]) for head in range(weights.shape[1])}


def choose_heads(known: Mapping[Head, Habit], n: int) -> list[Head]:
    """The n heads whose habits differ most, in the order of the layers.

    Greedy: first the head that is furthest from the average, then always the one furthest from
    those already taken (Gonzalez 1985, farthest-point clustering); distance is the share of
    attention that would have to move. Of equals the earliest head.
    """
    heads = sorted(known)
    shares = np.array([list(vars(known[head]).values()) for head in heads])
    distance = np.abs(shares - shares.mean(axis=0)).sum(axis=1) / 2
    taken: list[int] = []
    while len(taken) < min(n, len(heads)):
        taken.append(int(distance.argmax()))
        moved = np.abs(shares - shares[taken[-1]]).sum(axis=1) / 2
        distance = moved if len(taken) == 1 else np.minimum(distance, moved)
        distance[taken] = -1.0
    return sorted(heads[at] for at in taken)


def parse_head(text: str, n_layers: int, n_heads: int) -> Head:
    """ "3.1" is head 1 of layer 3; SmeltError where the model has no such head."""
    match = re.fullmatch(r"([0-9]{1,6})\.([0-9]{1,6})", text)
    if match is None:
        raise SmeltError(f"a head is LAYER.HEAD, such as 3.1; found {text[:40]!r}")
    layer, head = int(match[1]), int(match[2])
    if layer >= n_layers or head >= n_heads:
        raise SmeltError(
            f"there is no head {text}: the model has layers 0 to {n_layers - 1} with heads 0 to "
            f"{n_heads - 1}"
        )
    return layer, head
