"""Where values lie in the arena, and which ops must wait for earlier ones.

Values whose lifetimes do not meet share memory. Sizes are for the program's largest step; a value
of fewer rows uses the front of its place.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from .ops import Op, Value

__all__ = ["Place", "place", "wait"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

# Ops that write to the pages of their layer, and ops that read them.
WRITES_PAGES = frozenset({"kv_write", "rope_kv_write"})
READS_PAGES = frozenset({"attention_scores", "attention_mix", "attention"})


@dataclass(frozen=True)
class Place:
    """Bytes [offset, offset + nbytes) of the arena."""

    offset: int
    nbytes: int

    def meets(self, other: Place) -> bool:
        end, other_end = self.offset + self.nbytes, other.offset + other.nbytes
        return self.offset < other_end and other.offset < end


def place(
    ops: Sequence[Op], rows: dict[str, int], reuse: bool = True, keep: Container[Value] = ()
) -> dict[Value, Place]:
    """A place for every value but the last op's, which is the caller's buffer of logits.

    rows: the most rows of each kind, {"tokens": ..., "logits": ...}. Without `reuse` no two values
    share memory, so that all can be read after a step; those in `keep` share theirs with no later
    one. Greedy, first fit, in the order of the ops.
    """
    last_use = {value: at for at, op in enumerate(ops) for value in (*op.outputs, *op.inputs)}
    result = ops[-1].outputs[0]
    live: list[tuple[Place, Value]] = []
    places: dict[Value, Place] = {}
    for at, op in enumerate(ops):
        for value in op.outputs:
            if value is result:
                continue
            nbytes = -(-value.width * rows[value.rows] * 4 // ALIGNMENT) * ALIGNMENT
            spot = Place(_first_gap([taken for taken, _ in live], nbytes), nbytes)
            live = sorted([*live, (spot, value)], key=lambda entry: entry[0].offset)
            places[value] = spot
        if reuse:
            live = [(spot, value) for spot, value in live if last_use[value] > at or value in keep]
    return places


def _first_gap(taken: Sequence[Place], nbytes: int) -> int:
    offset = 0
    for other in taken:
        if other.offset - offset >= nbytes:
            break
        offset = other.offset + other.nbytes
    return offset


def wait(ops: Sequence[Op], places: dict[Value, Place]) -> list[bool]:
    """For every op whether it must wait for all earlier ones.

    It must where, since the last wait, one of them wrote what it reads, or used the memory that it
    writes; pages of the KV cache count as one resource a layer.
    """
    flags: list[bool] = []
    read: list[Place] = []
    written: list[Place] = []
    pages: set[tuple[int, str]] = set()
    for op in ops:
        inputs = [places[value] for value in op.inputs]
        outputs = [places[value] for value in op.outputs if value in places]
        conflict = any(a.meets(b) for a in inputs for b in written)
        conflict |= any(a.meets(b) for a in outputs for b in (*written, *read))
        if op.kind in READS_PAGES:
            conflict |= (op.layer, "write") in pages
        if op.kind in WRITES_PAGES:
            conflict |= bool({(op.layer, "read"), (op.layer, "write")} & pages)
        if conflict:
            read, written, pages = [], [], set()
        flags.append(conflict)
        read += inputs
        written += outputs
        if op.kind in READS_PAGES:
            pages.add((op.layer, "read"))
        if op.kind in WRITES_PAGES:
            pages.add((op.layer, "write"))
    return flags
