"""Benchmarks: what is run and counted; nothing here is about how fast it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small_engine import N_CTX
from smelt import Engine, limits
from smelt.benchmark import Case, Session
from smelt.errors import CancelledError, ContextOverflowError


@pytest.fixture(autouse=True)
def _less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits do not matter here."""
    monkeypatch.setattr(limits, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "BYTES_A_THREAD", 1 << 18)
    monkeypatch.setattr(limits, "SECONDS", 1e-4)


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    with Engine(path, threads=1, chunk_tokens=32) as engine:
        yield engine


def test_steps_are_those_of_the_cases(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(engine, [Case(70), Case(20, 3)], decoded=2)
    steps: list[list[tuple[int, int, list[int]]]] = []
    step = engine.step

    def recorded(work: Any, *rest: Any, **options: Any) -> Any:
        steps.append([(len(s.tokens), len(tokens), list(rows)) for s, tokens, rows in work])
        return step(work, *rest, **options)

    monkeypatch.setattr(engine, "step", recorded)
    session.round()
    assert steps == [
        [(0, 32, [])],
        [(32, 32, [])],
        [(64, 6, [5])],
        [(70, 1, [0])],
        [(71, 1, [0])],
        [(0, 20, [19]), (0, 12, [])],  # a step takes as many tokens as it can
        [(12, 8, [7]), (0, 20, [19])],
        [(20, 1, [0])] * 3,
        [(21, 1, [0])] * 3,
    ]
    assert engine.cache._active == [] and engine.cache._idle == []


def test_results(engine: Engine) -> None:
    session = Session(engine, [Case(20), Case(10, 2), Case(20)], decoded=3)
    session.round()
    session.round()
    result = session.result()
    assert (result.n_rounds, result.ops) == (2, len(engine.program.ops))
    assert [(case.prompt, case.batch) for case in result.cases] == [(20, 1), (10, 2)]
    for case in result.cases:
        assert (case.prefill.n, case.decode.n) == (2, 6)
        for rate in (case.prefill, case.decode):
            assert 0 < rate.low <= rate.median <= rate.high
            assert rate.limit and rate.fraction == rate.median / rate.limit
            assert rate.bound in ("memory", "arithmetic")
    assert result.limits and result.limits.read > 0
    assert result.steadiness and 0 < result.steadiness <= 1
    assert result.kv_bytes == 2 * 2 * 32 * 2  # K and V, 2 layers, kv_dim 32, 2 bytes


def test_a_round_that_is_not_ended_does_not_count(engine: Engine) -> None:
    session = Session(engine, [Case(8), Case(8, 2)], decoded=1)
    session.round()
    for _ in session.case_by_case():
        break
    assert session.rounds == 1
    assert [case.prefill.n for case in session.result().cases] == [1, 1]


def test_an_interrupted_step_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(engine, [Case(8, 4)], decoded=1)

    def interrupted(*_: Any, **options: Any) -> Any:
        raise CancelledError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", interrupted)
        with pytest.raises(CancelledError):
            session.round()
    assert engine.cache._active == [] and session.rounds == 0
    session.round()
    assert session.rounds == 1


def test_devices_without_limits(path: Path) -> None:
    with Engine(path, device="reference", n_ctx=32) as engine:
        session = Session(engine, [Case(4)], decoded=1)
        session.round()
        result = session.result()
    assert result.limits is None and result.steadiness is None
    assert result.cases[0].decode.limit is result.cases[0].decode.fraction is None


def test_prompts_that_do_not_fit(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError, match=f"{N_CTX} tokens and 1 generated"):
        Session(engine, [Case(4), Case(N_CTX)], decoded=1)
