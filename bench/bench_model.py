"""Whole models: a step that generates a token, a prompt, and a batch.

    python -m pytest bench/bench_model.py
    python -m pytest bench/bench_model.py --model model.gguf --threads 2

Without --model, random blocks in the shape of TinyLlama, Q4_K_M (written once a run: 640 MB).
`extra_info` has tokens a second, and ops, barriers and bytes of a step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from make_model import SHAPES, write
from smelt import Engine
from smelt.backends.base import PAGE_TOKENS
from smelt.benchmark import Costs, Work

PAST = 128  # tokens in the cache of a sequence that generates
PROMPT = 512


@pytest.fixture(scope="session")
def model(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given: Path | None = pytestconfig.getoption("--model")
    if given:
        return given
    path = tmp_path_factory.mktemp("bench") / "tinyllama-Q4_K_M.gguf"
    write(str(path), SHAPES["tinyllama"], "Q4_K_M")
    return path


@pytest.fixture
def engine(
    model: Path, isa: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    monkeypatch.setenv("SMELT_ISA", isa)
    with Engine(model, device="cpu", threads=threads, n_ctx=2 * PROMPT) as engine:
        yield engine


def tokens(engine: Engine, n: int) -> list[int]:
    return random.Random(0).choices(range(engine.config.n_vocab), k=n)


def costs(engine: Engine) -> Costs:
    return Costs(engine.program, engine.cache.pool.page_bytes / PAGE_TOKENS)


def notes(engine: Engine, n_tokens: int, work: Work, benchmark: Any) -> dict[str, Any]:
    return {
        "model": engine.model.file.path.stem,
        "tokens_per_second": n_tokens / benchmark.stats.stats.median,
        "ops": len(engine.program.ops),
        "barriers": sum(engine.program.waits),
        "bytes": work.bytes,
    }


@pytest.mark.parametrize("batch", [1, 8])
def test_decode(benchmark, measured, engine: Engine, batch: int) -> None:
    rounds = 32
    sequences = [engine.cache.begin([0], reuse=False) for _ in range(batch)]
    for sequence in sequences:
        engine.step([(sequence, tokens(engine, PAST), [])], engine.cancellations)
    new = [(sequence, [0], [0]) for sequence in sequences]
    benchmark.pedantic(
        lambda: engine.step(new, engine.cancellations), rounds=rounds, warmup_rounds=2
    )
    work = costs(engine).decode(PAST + rounds / 2, batch)
    measured(None, work, **notes(engine, batch, work, benchmark))


def test_prefill(benchmark, measured, engine: Engine) -> None:
    prompt = tokens(engine, PROMPT)

    def evaluate() -> None:
        sequence = engine.cache.begin([0], reuse=False)
        engine.step([(sequence, prompt, [PROMPT - 1])], engine.cancellations)
        engine.cache.end(sequence, keep=False)

    benchmark.pedantic(evaluate, rounds=5, warmup_rounds=1)
    work = costs(engine).prefill(PROMPT, 1, engine.chunk_tokens)
    measured(None, work, **notes(engine, PROMPT, work, benchmark))
