"""Recording a run: the model's program once more, with the chosen values kept, chunk by chunk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from ..batch import make_step
from ..errors import SmeltError, TokenizerError
from ..graph.placement import READS_PAGES, WRITES_PAGES
from ..graph.program import Program, build
from ..kv_cache import KVCache
from ..tokenizer.labels import token_piece
from .run import Run, RunInfo, TracedValue
from .run_file import Writer
from .statistics import Statistics
from .values import cache_names, cached, outputs

if TYPE_CHECKING:
    from ..backends.base import Device
    from ..engine import Engine
    from ..graph.ops import Op, Value

__all__ = ["record_run"]

ARENA_BYTES = 256 << 20  # of the values that wait to be read: longer steps are cut into chunks


def record_run(
    engine: Engine,
    device: Device,
    ids: list[int],
    *,
    pattern: str | Sequence[str],
    path: str | os.PathLike[str] | None,
    stats: bool,
    fused: bool,
    last_logits: bool,
    progress: Callable[[int, int], None] | None,
) -> Run:
    """What Engine.trace does, with a checked prompt."""
    before = engine.cancellations
    with engine.lock:
        engine.check_open()
        pool = device.create_pool(engine.config, engine.kv_type)
        program = _program(engine, ids, _matcher(pattern), fused)
        values = _describe(program, pool.readable)
        chosen = _chosen(values, pattern, fused)
        loaded = device.load(program)
    rows = {value.name: value.rows for value in values}
    wants_all = not last_logits and any(rows[name] == "logits" for name in chosen)
    cache = KVCache(pool, len(ids))
    sequence = cache.begin(ids, reuse=False)
    statistics: dict[str, Statistics] = {}
    dtypes: dict[str, str] = {}
    logit_rows = list(range(len(ids))) if wants_all else [len(ids) - 1]
    writer = Writer(None if stats and path is None else path)
    try:
        for at in range(0, len(ids), program.max_tokens):
            chunk = ids[at : at + program.max_tokens]
            wanted = [row - at for row in logit_rows if at <= row < at + len(chunk)]
            with engine.lock:
                engine.prepare_step(before)
                cache.reserve(sequence, len(chunk))
                step = make_step([(sequence, chunk, wanted)])
                logits = loaded.run(pool, step)
                sequence.tokens += chunk
            made = ((value.name, x) for _, value, x in outputs(loaded, step, logits, chosen))
            for name, x in chain(made, cached(loaded, pool, step, chosen)):
                first = at if rows[name] == "tokens" or wants_all else 0
                statistics.setdefault(name, Statistics()).add(x, first)
                if not stats and len(x):
                    writer.add(name, first, x)
                    dtypes[name] = x.dtype.name
            if progress:
                progress(at + len(chunk), len(ids))
        info = _info(engine, ids, fused, logit_rows)
        stored = [replace(value, dtype=dtypes.get(value.name, "")) for value in values]
        return writer.finish(info, stored, statistics)
    except BaseException:
        writer.abandon()
        raise


def _matcher(pattern: str | Sequence[str]) -> Callable[[str], bool]:
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    return lambda name: any(fnmatchcase(name, one) for one in patterns)


def _program(
    engine: Engine, ids: list[int], matches: Callable[[str], bool], fused: bool
) -> Program:
    """The program with the values kept whose names match, for as many tokens as ARENA_BYTES has
    room for."""
    ops = engine.model.record(len(ids))
    keep = {value for op in ops for value in op.outputs if matches(value.name)}
    chunk = min(engine.chunk_tokens, len(ids))
    program = build(ops, chunk, chunk, fused, keep=keep)
    if program.arena_bytes > ARENA_BYTES:
        chunk = max(1, chunk * ARENA_BYTES // program.arena_bytes)
        program = build(ops, chunk, chunk, fused, keep=keep)
    return program


def _chosen(values: list[TracedValue], pattern: str | Sequence[str], fused: bool) -> frozenset[str]:
    """Names that match; SmeltError if there is none."""
    matches = _matcher(pattern)
    chosen = frozenset(value.name for value in values if matches(value.name))
    if not chosen:
        wanted = pattern if isinstance(pattern, str) else " or ".join(pattern)
        names = ", ".join(value.name for value in values[:8])
        raise SmeltError(
            f"no value's name matches {wanted}: the {len(values)} values of this "
            f"{'fused' if fused else 'unfused'} program are called {names}, ..."
        )
    return chosen


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


def _info(engine: Engine, ids: list[int], fused: bool, logit_rows: list[int]) -> RunInfo:
    sizes: Counter[str] = Counter()
    for weight in engine.model.weights.values():
        sizes[weight.format] += weight.nbytes
    texts = [""] * len(ids)
    with suppress(TokenizerError):  # a model whose tokenizer smelt lacks runs on token ids
        texts = [token_piece(engine.tokenizer, token) for token in ids]
    return RunInfo(
        model=str(engine.model.file.path),
        name=engine.config.name,
        architecture=engine.config.architecture,
        format=sizes.most_common(1)[0][0],
        device=engine.device,
        fused=fused,
        kv_type=engine.kv_type,
        n_layers=engine.config.n_layers,
        token_ids=ids,
        token_texts=texts,
        logit_rows=logit_rows,
    )
