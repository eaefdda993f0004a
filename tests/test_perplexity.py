"""Perplexity against the definition, worked out in float64 from logits()."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_engine import N_CTX, SMALL
from smelt import Engine
from smelt.errors import ContextOverflowError, SmeltError
from smelt.perplexity import chunk_losses, summarise
from tiny_model import BOS, write_tiny_llama

TEXT = "Once upon a time there was the end of it, and that is as it was in the and of you. " * 9


def slow(engine: Engine, text: str, n_ctx: int, bos: int | None = BOS) -> list[float]:
    """Losses as ../shared/oracle/perplexity.json describes llama.cpp's method."""
    ids = engine.tokenize(text)
    losses = []
    for start in range(0, len(ids) - n_ctx + 1, n_ctx):
        chunk = ids[start : start + n_ctx]
        if bos is not None:
            chunk[0] = bos
        logits = engine.logits(chunk)
        for position in range(n_ctx // 2, n_ctx - 1):
            row = [float(x) for x in logits[position]]
            log_sum = max(row) + math.log(math.fsum(math.exp(x - max(row)) for x in row))
            losses.append(log_sum - row[chunk[position + 1]])
    return losses


@pytest.mark.parametrize("n_ctx", [4, 5, 32, 33, 64, N_CTX])
def test_against_the_definition(engine: Engine, n_ctx: int) -> None:
    losses = slow(engine, TEXT, n_ctx)
    result = engine.perplexity(TEXT, n_ctx=n_ctx)
    assert result.n_tokens == len(losses) > 0
    assert result.value == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-9)
    variance = np.mean(np.square(losses)) - np.mean(losses) ** 2
    expected = math.sqrt(variance / (len(losses) - 1)) * result.value if len(losses) > 1 else None
    if expected is not None:
        assert result.stderr == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("chunk_tokens", [1, 7, 31, 32, 33, 512])
def test_chunks_of_a_step_do_not_matter(path: Path, engine: Engine, chunk_tokens: int) -> None:
    expected = engine.perplexity(TEXT, n_ctx=64)
    with Engine(path, threads=1, chunk_tokens=chunk_tokens) as other:
        assert other.perplexity(TEXT, n_ctx=64) == expected


def test_repeatable_and_independent_of_the_cache(engine: Engine) -> None:
    expected = engine.perplexity(TEXT, n_ctx=64)
    engine.generate(TEXT[:80], 5)
    assert engine.perplexity(TEXT, n_ctx=64) == expected
    assert engine.cache._active == []


def test_a_uniform_model_is_as_perplexed_as_it_has_tokens() -> None:
    logits = [np.zeros((3, 50), np.float32), np.zeros((2, 50), np.float32)]
    losses = chunk_losses(iter(logits), list(range(10)), 5)
    assert losses.shape == (4,)
    assert summarise(losses).value == pytest.approx(50.0)
    assert summarise(losses).stderr == pytest.approx(0.0, abs=1e-6)


def test_one_loss_has_no_error() -> None:
    result = summarise(np.array([2.0]))
    assert result.value == pytest.approx(math.exp(2.0)) and result.n_tokens == 1
    assert math.isnan(result.stderr)


def test_progress(engine: Engine) -> None:
    calls: list[tuple[int, int]] = []
    engine.perplexity(TEXT, n_ctx=64, progress=lambda done, total: calls.append((done, total)))
    n = len(engine.tokenize(TEXT)) // 64
    assert n > 2
    assert calls == [(i + 1, n) for i in range(n)]


def test_progress_that_raises(engine: Engine) -> None:
    def progress(done: int, total: int) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError):
        engine.perplexity(TEXT, n_ctx=64, progress=progress)
    assert engine.cache._active == []


def test_a_text_that_is_too_short(engine: Engine) -> None:
    text = "the end"
    n = len(engine.tokenize(text))
    with pytest.raises(SmeltError, match=rf"{n} tokens.* {N_CTX}"):
        engine.perplexity(text, n_ctx=N_CTX)
    with pytest.raises(SmeltError):
        engine.perplexity("", n_ctx=8)


@pytest.mark.parametrize("n_ctx", [N_CTX + 1, 3, 0, -4])
def test_chunks_that_cannot_be(engine: Engine, n_ctx: int) -> None:
    with pytest.raises(ContextOverflowError if n_ctx > 3 else SmeltError, match=str(n_ctx)):
        engine.perplexity(TEXT, n_ctx=n_ctx)


def test_small_chunks_are_refused_for_what_they_are(engine: Engine) -> None:
    with pytest.raises(SmeltError, match="at least 4"):
        engine.perplexity(TEXT, n_ctx=3)


def test_a_model_without_bos(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", **SMALL)
    raw = path.read_bytes()
    at = raw.index(b"tokenizer.ggml.add_bos_token") + len("tokenizer.ggml.add_bos_token") + 4
    assert raw[at] == 1
    path.write_bytes(raw[:at] + b"\0" + raw[at + 1 :])
    with Engine(path) as engine:
        assert engine.tokenize("the")[0] != BOS
        losses = slow(engine, TEXT, 32, bos=None)
        assert engine.perplexity(TEXT, n_ctx=32).value == pytest.approx(math.exp(np.mean(losses)))


@pytest.mark.parametrize("name", ["prose-code-7m-Q4_K_M"])
def test_real_model(shared: Path, name: str) -> None:
    """The first chunks of the oracle's text; the whole of it is in tests/oracle."""
    oracle: dict[str, Any] = json.loads((shared / "oracle" / "perplexity.json").read_text())
    text = (shared / "text" / "held.txt").read_text()[:3500]
    with Engine(shared / "models" / f"{name}.gguf", threads=2) as engine:
        result = engine.perplexity(text, n_ctx=oracle["n_ctx"])
    whole = oracle["models"][name]
    assert abs(math.log(result.value / whole["ppl"])) < 4 * result.stderr / result.value
