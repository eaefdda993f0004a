"""Batches, streams and the KV cache behind them: nobody's answer depends on anybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_engine import N_CTX, prompt_ids, same
from smelt import Engine
from smelt.backends.base import PAGE_TOKENS
from smelt.completion import Completion
from tiny_model import BOS

# --- what must not matter


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_chunks(path: Path, chunk: int, kv_type: str) -> None:
    ids = prompt_ids(100)
    with Engine(path, threads=1, kv_type=kv_type) as whole:
        logits, c = whole.logits(ids), whole.generate(ids, 6, logprobs=3)
    with Engine(path, threads=2, kv_type=kv_type, chunk_tokens=chunk) as chunked:
        assert np.array_equal(logits, chunked.logits(ids))
        assert same(c, chunked.generate(ids, 6, logprobs=3))


def test_kv_type_matters(path: Path, engine: Engine) -> None:
    """Else the test above would not see it."""
    ids = prompt_ids(100)
    with Engine(path, kv_type="f32") as other:
        assert not np.array_equal(other.logits(ids), engine.logits(ids))


@pytest.mark.parametrize("chunk", [3, 512])
def test_batches(path: Path, fresh: Engine, chunk: int) -> None:
    lengths = [1, 40, 2, PAGE_TOKENS, 3 * PAGE_TOKENS + 1, 40, 1]
    prompts = [prompt_ids(n, seed=n) for n in lengths]
    with Engine(path, threads=2, chunk_tokens=chunk) as engine:
        together = engine.generate(prompts, 20, logprobs=2)
    assert [len(c.prompt_token_ids) for c in together] == lengths
    for prompt, c in zip(prompts, together, strict=True):
        assert same(c, fresh.generate(prompt, 20, logprobs=2))


def test_more_sequences_than_tokens_a_step(path: Path, fresh: Engine) -> None:
    with Engine(path, threads=1, chunk_tokens=2) as engine:
        for c in engine.generate([[BOS, 9]] * 5, 6):
            assert c.token_ids == fresh.generate([BOS, 9], 6).token_ids


def test_batch_members_end_by_themselves(engine: Engine) -> None:
    prompts = ["the", "and", "once", "of"]
    stops = [engine.generate(p, 12).text[3:5] for p in prompts]
    together = engine.generate(prompts, 12, stop=stops)
    for prompt, c in zip(prompts, together, strict=True):
        assert same(c, engine.generate(prompt, 12, stop=stops))
    assert len({len(c.token_ids) for c in together}) > 1


def test_a_batch_of_one_is_a_list(engine: Engine) -> None:
    assert isinstance(engine.generate("the", 1), Completion)
    prompts: list[Any] = [["the"], ("the",), [[1, 5]], np.array([[1, 5]])]
    for prompt in prompts:
        assert isinstance(engine.generate(prompt, 1), list)


# --- the common prefix


@pytest.mark.parametrize("n", [2, 20, PAGE_TOKENS, PAGE_TOKENS + 1, 90])
def test_a_known_prefix_changes_nothing(path: Path, fresh: Engine, n: int) -> None:
    ids = prompt_ids(n)
    with Engine(path, threads=2) as other:
        first = other.generate(ids, 5, logprobs=3)
        assert first.timings.cached_tokens == 0
        for longer, least in (
            (ids, n - 1),
            ([*ids, *first.token_ids, 40, 41], n),
            (ids[: n // 2 + 1], n // 2 // PAGE_TOKENS * PAGE_TOKENS),
        ):
            c = other.generate(longer, 5, logprobs=3)
            assert least <= c.timings.cached_tokens < len(longer)
            fresh_cache = fresh.generate(longer, 5, logprobs=3)
            assert same(c, fresh_cache)


def test_a_completion_is_part_of_what_is_known(fresh: Engine) -> None:
    first = fresh.generate(prompt_ids(10), 30)
    longer = [*first.prompt_token_ids, *first.token_ids, 5]
    # all but the last generated token have been evaluated
    assert fresh.generate(longer, 1).timings.cached_tokens == 10 + 29


def test_two_conversations_in_turn(fresh: Engine) -> None:
    """Their prompts share BOS, as all do; there is room for both in the cache."""
    one, two = prompt_ids(60, seed=1), prompt_ids(60, seed=2)
    for prompt in (one, two):
        fresh.generate(prompt, 1)
    assert fresh.generate([*one, 5], 1).timings.cached_tokens >= PAGE_TOKENS


def test_logits_and_perplexity_use_no_cache(fresh: Engine) -> None:
    ids = prompt_ids(50)
    before = fresh.logits(ids)
    fresh.generate(ids, 4)
    assert np.array_equal(fresh.logits(ids), before)
    assert len(fresh.cache._idle) == 1


# --- several at a time


def test_interleaved_streams(engine: Engine, fresh: Engine) -> None:
    prompts = [prompt_ids(50), prompt_ids(50), [*prompt_ids(50)[:40], 7], prompt_ids(5, seed=3)]
    streams = [engine.start(prompt, 20, logprobs=1) for prompt in prompts]
    for _ in range(20):
        for stream in streams:
            next(stream)
    for prompt, stream in zip(prompts, streams, strict=True):
        assert next(stream, None) is None
        assert same(stream.completion(), fresh.generate(prompt, 20, logprobs=1))


def test_streams_that_begin_while_others_run(engine: Engine, fresh: Engine) -> None:
    ids = prompt_ids(80, seed=8)
    running, finished = [], []
    for n in (80, 70, 65, 33, 80):
        running.append(engine.start(ids[:n], 12))
        for stream in running:
            next(stream, None)
    running.pop(1).close()
    while running:
        stream = running.pop()
        list(stream)
        finished.append(stream.completion())
        engine.generate(ids[:50], 2)
    for c in finished:
        assert same(c, fresh.generate(c.prompt_token_ids, 12))


def test_abandoned_streams_give_their_pages_back(fresh: Engine) -> None:
    for _ in range(3):
        stream = fresh.start(prompt_ids(40), 30)
        next(stream)
        del stream
        next(iter(fresh.stream(prompt_ids(40), 30)))
        fresh.start(prompt_ids(40), 30)
    assert fresh.cache._active == []
    assert fresh.cache.n_pages <= fresh.cache.max_pages


def test_a_closed_stream(fresh: Engine) -> None:
    stream = fresh.start("the", 30)
    text = next(stream).text + next(stream).text
    stream.close()
    stream.close()
    assert next(stream, None) is None
    c = stream.completion()
    assert (c.text, len(c.token_ids), c.finish_reason) == (text, 2, "")
    assert fresh.cache._active == []


def test_a_context_that_is_used_up_again_and_again(path: Path) -> None:
    """Memory stays within what one context and the running sequences need."""
    with Engine(path, threads=2) as engine:
        for seed in range(12):
            engine.generate([prompt_ids(100, seed), prompt_ids(N_CTX, seed + 50)], 4)
        assert engine.cache.n_pages <= 2 * engine.cache.max_pages
