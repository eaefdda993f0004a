"""Recording a run: the model's program once more, with the chosen values kept, chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ..batch import make_step
from ..errors import TokenizerError
from ..tokenizer.labels import token_piece
from .program import TracedProgram, trace_program
from .run import Run, RunInfo
from .run_file import Writer
from .statistics import StatisticsTable
from .values import cached, outputs

if TYPE_CHECKING:
    from ..backends.base import Device
    from ..engine import Engine

__all__ = ["record_run"]


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
        cache = engine.cache
        readable = cache.pool.readable
        traced = trace_program(engine, device, pattern, fused, len(ids), readable)
    loaded, chosen = traced.loaded, traced.chosen
    rows = {value.name: value.rows for value in traced.values}
    wants_all = not last_logits and any(rows[name] == "logits" for name in chosen)
    statistics = StatisticsTable([name for name in rows if name in chosen])
    dtypes: dict[str, str] = {}
    logit_rows = list(range(len(ids))) if wants_all else [len(ids) - 1]
    writer = Writer(None if stats and path is None else path)
    with engine.lock:
        sequence = cache.begin(ids, reuse=False)
    try:
        for at in range(0, len(ids), loaded.program.max_tokens):
            chunk = ids[at : at + loaded.program.max_tokens]
            wanted = [row - at for row in logit_rows if at <= row < at + len(chunk)]
            with engine.lock:
                engine.prepare_step(before)
                cache.reserve(sequence, len(chunk))
                step = make_step([(sequence, chunk, wanted)])
                logits = loaded.run(cache.pool, step)
                sequence.tokens += chunk
                made = list(cached(loaded, cache.pool, step, chosen))
            made += [(value.name, x) for _, value, x in outputs(loaded, step, logits, chosen)]
            blocks = [
                (name, x, at if rows[name] == "tokens" or wants_all else 0) for name, x in made
            ]
            statistics.add(blocks)
            for name, x, first in blocks if not stats else ():
                if len(x):
                    writer.add(name, first, x)
                    dtypes[name] = x.dtype.name
            if progress:
                progress(at + len(chunk), len(ids))
        info = _info(engine, traced, ids, logit_rows)
        stored = [
            replace(value, dtype=dtypes[value.name]) if value.name in dtypes else value
            for value in traced.values
        ]
        run = writer.finish(info, stored, statistics)
    except BaseException:
        writer.abandon()
        raise
    finally:
        with engine.lock:
            if not engine.closed:
                cache.end(sequence, keep=False)
    with engine.lock:
        if traced.is_small and not engine.closed:
            engine.traced = traced
    return run


def _info(engine: Engine, traced: TracedProgram, ids: list[int], logit_rows: list[int]) -> RunInfo:
    texts = [""] * len(ids)
    with suppress(TokenizerError):  # a model whose tokenizer smelt lacks runs on token ids
        texts = [token_piece(engine.tokenizer, token) for token in ids]
    return RunInfo(
        model=str(engine.model.file.path),
        name=engine.config.name,
        architecture=engine.config.architecture,
        format=traced.format,
        device=engine.device,
        fused=traced.wanted.fused,
        kv_type=engine.kv_type,
        n_layers=engine.config.n_layers,
        token_ids=ids,
        token_texts=texts,
        logit_rows=logit_rows,
    )
