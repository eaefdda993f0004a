"""Recording a run: the model's program once more, with the chosen values kept, chunk by chunk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..batch import make_step
from ..errors import SmeltError, TokenizerError
from ..graph.placement import READS_PAGES, WRITES_PAGES
from ..graph.program import Program, build
from ..kv_cache import KVCache
from ..tokenizer.labels import token_piece
from .run import Run, RunInfo, TracedValue, Writer
from .statistics import Statistics
from .values import outputs

if TYPE_CHECKING:
    from ..backends.base import Device
    from ..engine import Engine
    from ..graph.ops import Op

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
    program, chosen = _program(engine, ids, pattern, fused)
    values = _describe(program)
    rows = {value.name: value.rows for value in values}
    wants_all = not last_logits and any(rows[name] == "logits" for name in chosen)
    before = engine.cancellations
    with engine.lock:
        engine.check_open()
        loaded = device.load(program)
        pool = device.create_pool(engine.config, engine.kv_type)
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
            for _, value, x in outputs(loaded, step, logits, chosen):
                first = at if value.rows == "tokens" or wants_all else 0
                statistics.setdefault(value.name, Statistics()).add(x, first)
                if not stats and len(x):
                    writer.add(value.name, first, x)
                    dtypes[value.name] = x.dtype.name
            if progress:
                progress(at + len(chunk), len(ids))
        info = _info(engine, ids, fused, logit_rows)
        stored = [replace(value, dtype=dtypes.get(value.name, "")) for value in values]
        return writer.finish(info, stored, statistics)
    except BaseException:
        writer.abandon()
        raise


def _program(
    engine: Engine, ids: list[int], pattern: str | Sequence[str], fused: bool
) -> tuple[Program, frozenset[str]]:
    """The program with the values that the pattern names kept, and their names."""
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    ops = engine.model.record(len(ids))

    def kept(names: str) -> bool:
        return any(fnmatchcase(names, one) for one in patterns)

    keep = {value for op in ops for value in op.outputs if kept(value.name)}
    chunk = min(engine.chunk_tokens, len(ids))
    program = build(ops, chunk, chunk, fused, keep=keep)
    if program.arena_bytes > ARENA_BYTES:
        chunk = max(1, chunk * ARENA_BYTES // program.arena_bytes)
        program = build(ops, chunk, chunk, fused, keep=keep)
    chosen = frozenset(value.name for value in program.values if value in keep)
    if not chosen:
        names = ", ".join(value.name for value in program.values[:8])
        raise SmeltError(
            f"no value's name matches {' or '.join(patterns)}: the {len(program.values)} values "
            f"of this {'fused' if fused else 'unfused'} program are called {names}, ..."
        )
    return program, chosen


def _describe(program: Program) -> list[TracedValue]:
    return [
        TracedValue(
            name=value.name,
            op=op.kind,
            layer=op.layer,
            shape=value.shape,
            rows=value.rows,
            inputs=_inputs(op, program.ops),
            weights=tuple((w.name, w.format) for w in op.weights if w is not None),
            params=dict(op.params),
            parts=tuple(part.kind for part in op.parts),
        )
        for op in program.ops
        for value in op.outputs
    ]


def _inputs(op: Op, ops: Sequence[Op]) -> tuple[str, ...]:
    """Names of what an op reads; for one that reads pages, also what was written to them."""
    names = [value.name for value in op.inputs]
    if op.kind in READS_PAGES:
        (writer,) = (o for o in ops if o.kind in WRITES_PAGES and o.layer == op.layer)
        written = writer.inputs if writer.kind == "kv_write" else writer.inputs[1:]
        k, v, *table = (value.name for value in written)
        names += {"attention_scores": [k, *table], "attention_mix": [v]}.get(
            op.kind, [k, v, *table]
        )
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
