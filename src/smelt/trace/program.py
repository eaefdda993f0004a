"""The program that is traced: the model's own, with the wanted values kept, and what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..errors import SmeltError
from ..graph.placement import READS_PAGES, WRITES_PAGES
from ..graph.program import Program, build
from .run import TracedValue
from .values import cache_names

if TYPE_CHECKING:
    from ..backends.base import Device, LoadedProgram
    from ..engine import Engine
    from ..graph.ops import Op, Value

__all__ = ["TracedProgram", "Wanted", "trace_program"]

ARENA_BYTES = 256 << 20  # of the values that wait to be read: longer steps are cut into chunks
KEPT_BYTES = 16 << 20  # an arena up to which an Engine keeps the program for its next trace
FEWEST_TOKENS = 64  # that a fused program is planned for, so that it serves short prompts alike


@dataclass(frozen=True)
class Wanted:
    """What a trace shows: the values whose names match a pattern, of a fused program or of the
    plain ops, whose scores have a width of n_tokens."""

    patterns: tuple[str, ...]
    fused: bool
    n_tokens: int

    def matches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True, eq=False)
class TracedProgram:
    """values: all of the program, in its order; chosen: names of those that are wanted; format: of
    most of the model's weights."""

    wanted: Wanted
    loaded: LoadedProgram
    values: tuple[TracedValue, ...]
    chosen: frozenset[str]
    format: str

    @property
    def is_small(self) -> bool:
        """Whether an Engine may keep it: for few tokens, making it costs more than running it."""
        return self.loaded.program.arena_bytes <= KEPT_BYTES


def trace_program(
    engine: Engine,
    device: Device,
    pattern: str | Sequence[str],
    fused: bool,
    n_tokens: int,
    readable: bool,
) -> TracedProgram:
    """A program for a prompt of n_tokens: the one that the last trace left, where it will do.

    readable: whether what ops write to the pages of the KV cache can be seen, too.
    Raises SmeltError if no value's name matches.
    """
    if fused and n_tokens <= engine.chunk_tokens:
        longer = max(FEWEST_TOKENS, 1 << (n_tokens - 1).bit_length())
        n_tokens = min(longer, engine.chunk_tokens)
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    wanted = Wanted(patterns, fused, n_tokens)
    kept, engine.traced = engine.traced, None
    if kept is not None and kept.wanted == wanted:
        return kept
    program = _build(engine, wanted)
    values = _describe(program, readable)
    chosen = frozenset(value.name for value in values if wanted.matches(value.name))
    if not chosen:
        names = ", ".join(value.name for value in values[:8])
        raise SmeltError(
            f"no value's name matches {' or '.join(patterns)}: the {len(values)} values of this "
            f"{'fused' if fused else 'unfused'} program are called {names}, ..."
        )
    sizes: Counter[str] = Counter()
    for weight in engine.model.weights.values():
        sizes[weight.format] += weight.nbytes
    ((main_format, _),) = sizes.most_common(1)
    return TracedProgram(wanted, device.load(program), tuple(values), chosen, main_format)


def _build(engine: Engine, wanted: Wanted) -> Program:
    """The program with the wanted values kept, for as many tokens as ARENA_BYTES has room for: the
    fused ops are the Engine's own."""
    ops = engine.program.ops if wanted.fused else engine.model.record(wanted.n_tokens)
    keep = {value for op in ops for value in op.outputs if wanted.matches(value.name)}
    chunk = min(engine.chunk_tokens, wanted.n_tokens)
    program = build(ops, chunk, chunk, fused=False, keep=keep)
    if program.arena_bytes > ARENA_BYTES:
        chunk = max(1, chunk * ARENA_BYTES // program.arena_bytes)
        program = build(ops, chunk, chunk, fused=False, keep=keep)
    return program


def _describe(program: Program, readable: bool) -> list[TracedValue]:
    """All values in program order; readable: what is written to pages is one, too."""
    values = []
    for op in program.ops:
        made = [(v.name, v.shape, v.rows, _inputs(op, program, readable)) for v in op.outputs]
        if op.kind in WRITES_PAGES and readable:
            k, v, table = _written(op)
            k_name, v_name = cache_names(op.layer)
            made += [
                (k_name, k.shape, k.rows, (k.name, *table)),
                (v_name, v.shape, v.rows, (v.name,)),
            ]
        values += [
            TracedValue(
                name=name,
                op=op.kind,
                layer=op.layer,
                shape=shape,
                rows=rows,
                inputs=inputs,
                weights=tuple((w.name, w.format) for w in op.weights if w is not None),
                params=dict(op.params),
                parts=tuple(part.kind for part in op.parts),
            )
            for name, shape, rows, inputs in made
        ]
    return values


def _written(op: Op) -> tuple[Value, Value, list[str]]:
    """Keys and values that an op writes to pages, and the table by which it turns the keys."""
    if op.kind == "kv_write":
        return op.inputs[0], op.inputs[1], []
    return op.inputs[1], op.inputs[2], [op.inputs[3].name]


def _inputs(op: Op, program: Program, readable: bool) -> tuple[str, ...]:
    """Names of what an op reads; for one that reads pages, also what was written to them."""
    names = [value.name for value in op.inputs]
    if op.kind in READS_PAGES:
        (writer,) = (o for o in program.ops if o.kind in WRITES_PAGES and o.layer == op.layer)
        k, v, table = _written(writer)
        keys, values = [k.name, *table], [v.name]
        if readable:
            keys, values = ([name] for name in cache_names(op.layer))
        names += keys if op.kind != "attention_mix" else []
        names += values if op.kind != "attention_scores" else []
    return tuple(names)
