"""A Program: ops, values and weights with places and waits, and its flat form for native code."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from .fusion import fuse
from .ops import Op, Value, Weight
from .placement import Place, place, wait

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Program", "Tables", "build"]


@dataclass(frozen=True, eq=False)
class Program:
    """What a device replays. max_tokens and max_logits bound the steps it can run."""

    ops: tuple[Op, ...]
    waits: tuple[bool, ...]
    places: dict[Value, Place]
    max_tokens: int
    max_logits: int
    values: tuple[Value, ...] = field(init=False)
    weights: tuple[Weight, ...] = field(init=False)

    def __post_init__(self) -> None:
        values = dict.fromkeys(value for op in self.ops for value in op.outputs)
        weights = dict.fromkeys(w for op in self.ops for w in op.weights if w is not None)
        object.__setattr__(self, "values", tuple(values))
        object.__setattr__(self, "weights", tuple(weights))

    @property
    def arena_bytes(self) -> int:
        """Size of the arena for the largest step."""
        return max((p.offset + p.nbytes for p in self.places.values()), default=0)


def build(
    ops: Sequence[Op],
    max_tokens: int,
    max_logits: int,
    fused: bool = True,
    reuse: bool = True,
    keep: Container[Value] = (),
) -> Program:
    """Makes a Program of recorded ops: fuse, place, order.

    The last op's value is the logits. fused=False keeps the plain ops; reuse=False gives every
    value memory of its own, so that all can be looked at after a step; `keep` are single values
    that can.
    """
    rewritten = fuse(ops) if fused else list(ops)
    places = place(rewritten, {"tokens": max_tokens, "logits": max_logits}, reuse, keep)
    return Program(tuple(rewritten), tuple(wait(rewritten, places)), places, max_tokens, max_logits)


@dataclass(frozen=True)
class Tables:
    """The arrays of native/program.h: op_record[], value_record[], weight_record[].

    sources: of every weight record its Weight and whether ops multiply with it; a table that is
    also the output matrix (tied embeddings) has two records, since a device may pack the one.
    """

    ops: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    sources: list[tuple[Weight, bool]]


# Ops that multiply with their weights, and not only read rows of them.
MULTIPLIES = frozenset({"matmul", "norm_matmul", "norm_gate_up", "matmul_add"})


@cache
def _dtypes() -> tuple[np.dtype, np.dtype, np.dtype]:
    import numpy as np

    from .. import _cpu

    fields = _cpu.record_fields()
    op_bytes, value_bytes, weight_bytes = _cpu.record_bytes
    op = np.dtype(
        {
            "names": [name for name, *_ in fields],
            "formats": [
                ("<f4" if is_float else "<i4", (count,) if count > 1 else ())
                for _, _, count, is_float in fields
            ],
            "offsets": [offset for _, offset, *_ in fields],
            "itemsize": op_bytes,
        }
    )
    value = np.dtype([("offset", "<i8"), ("width", "<i4"), ("rows", "<i4")])
    weight = np.dtype(
        [
            ("data", "<u8"),
            ("row_bytes", "<i8"),
            ("format", "<i4"),
            ("n_out", "<i4"),
            ("n_in", "<i4"),
            ("packed", "<i4"),
        ]
    )
    assert (value.itemsize, weight.itemsize) == (value_bytes, weight_bytes)
    return op, value, weight


def tables(program: Program) -> Tables:
    """The flat form of a program. It holds addresses: keep the program alive beside it."""
    import numpy as np

    from .. import _cpu
    from ..formats import FORMATS

    op_dtype, value_dtype, weight_dtype = _dtypes()
    numbers = {name: number for number, name in enumerate(_cpu.op_names())}
    value_index = {value: i for i, value in enumerate(program.values)}
    used = [(w, op.kind in MULTIPLIES) for op in program.ops for w in op.weights if w is not None]
    sources = list(dict.fromkeys(used))
    weight_index = {source: i for i, source in enumerate(sources)}
    ops = np.zeros(len(program.ops), op_dtype)
    for record, op, waits in zip(ops, program.ops, program.waits, strict=True):
        record["op"], record["layer"], record["barrier"] = numbers[op.kind], op.layer, waits
        for name in ("inputs", "outputs", "weights"):
            record[name] = -1
        record["inputs"][: len(op.inputs)] = [value_index[v] for v in op.inputs]
        record["outputs"][: len(op.outputs)] = [value_index[v] for v in op.outputs]
        record["weights"][: len(op.weights)] = [
            -1 if w is None else weight_index[w, op.kind in MULTIPLIES] for w in op.weights
        ]
        for name, number in op.params.items():
            record[name] = number
    values = np.zeros(len(program.values), value_dtype)
    row_kinds = {"tokens": _cpu.rows_tokens, "logits": _cpu.rows_logits}
    for record, value in zip(values, program.values, strict=True):
        spot = program.places.get(value)
        record["offset"] = _cpu.value_is_logits if spot is None else spot.offset
        record["width"], record["rows"] = value.width, row_kinds[value.rows]
    weights = np.zeros(len(sources), weight_dtype)
    for record, (weight, _) in zip(weights, sources, strict=True):
        record["data"] = weight.data.ctypes.data
        record["row_bytes"] = weight.nbytes // weight.n_out
        record["n_out"], record["n_in"] = weight.n_out, weight.n_in
        record["format"] = (
            _cpu.format_f64 if weight.format == "f64" else FORMATS[weight.format].index
        )
    return Tables(ops, values, weights, sources)
