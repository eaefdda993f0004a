"""The Engine: what generate, stream and batches promise, on small random models."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_engine import N_CTX, SAMPLED, SMALL, prompt_ids, same
from smelt import Engine
from smelt.backends.base import PAGE_TOKENS
from smelt.completion import Completion
from smelt.errors import (
    ContextOverflowError,
    DeviceError,
    SamplingError,
    SmeltError,
    UnsupportedModelError,
)
from smelt.gguf_file import GGUFFile
from tiny_model import BOS, EOS, write_tiny_llama

PROMPTS = ["Once upon a time", "the", "and he said that it was in the end", "é ∑ 🙂", " ", "</s>"]


# --- one prompt


@pytest.mark.parametrize("options", [{}, SAMPLED, {"repetition_penalty": 1.3, "logprobs": 2}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_generate_stream_and_ids_agree(
    engine: Engine, prompt: str, options: dict[str, Any]
) -> None:
    c = engine.generate(prompt, 24, **options)
    assert same(c, engine.generate(engine.tokenize(prompt), 24, **options))
    array: Any = np.array(engine.tokenize(prompt))
    assert same(c, engine.generate(array, 24, **options))
    assert same(c, engine.generate([prompt], 24, **options)[0])
    stream = engine.start(prompt, 24, **options)
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == c.text
    assert [piece.token_id for piece in pieces if piece.token_id is not None] == c.token_ids
    assert same(stream.completion(), c)
    assert c.finish_reason == ("length" if len(c.token_ids) == 24 else "stop")
    assert c.prompt_token_ids == engine.tokenize(prompt)


def test_the_text_is_the_tokens_text(engine: Engine) -> None:
    for prompt in PROMPTS:
        c = engine.generate(prompt, 40)
        assert c.text == engine.tokenizer.decode(c.token_ids, first=False)


@pytest.mark.parametrize("max_tokens", [0, 1, 2])
def test_max_tokens(engine: Engine, max_tokens: int) -> None:
    longer = engine.generate("the", 5)
    c = engine.generate("the", max_tokens, logprobs=1)
    assert c.token_ids == longer.token_ids[:max_tokens]
    assert c.finish_reason == "length"
    assert c.logprobs is not None and len(c.logprobs) == max_tokens
    assert len(list(engine.stream("the", max_tokens))) == max_tokens


def test_max_tokens_that_cannot_be(engine: Engine) -> None:
    with pytest.raises(ValueError, match="-1"):
        engine.generate("the", -1)


@pytest.mark.parametrize("n_prompt", [1, 100, N_CTX - 1, N_CTX])
def test_without_a_limit_the_context_is_used_up(engine: Engine, n_prompt: int) -> None:
    prompt = prompt_ids(n_prompt)
    c = engine.generate(prompt, None, logit_bias={EOS: -math.inf})
    assert c.finish_reason == "length"
    assert n_prompt + len(c.token_ids) == N_CTX + 1  # the last one is never evaluated
    assert c.token_ids[:3] == engine.generate(prompt, 3).token_ids[:3]


def test_a_prompt_longer_than_the_context(engine: Engine) -> None:
    for call in (engine.generate, engine.start, engine.logits):
        with pytest.raises(ContextOverflowError, match=rf"{N_CTX + 5} tokens.* {N_CTX}"):
            call(prompt_ids(N_CTX + 5))
    with pytest.raises(ContextOverflowError):
        engine.generate([prompt_ids(3), prompt_ids(N_CTX + 1)])
    assert engine.cache._active == []


def test_an_end_token(engine: Engine) -> None:
    c = engine.generate("the", 9, logit_bias={EOS: 1e5}, logprobs=1)
    assert (c.text, c.token_ids, c.finish_reason, c.logprobs) == ("", [], "stop", [])
    (piece,) = engine.stream("the", 9, logit_bias={EOS: 1e5})
    assert (piece.text, piece.token_id) == ("", None)


def test_an_empty_text_is_bos(engine: Engine) -> None:
    assert engine.generate("", 3).prompt_token_ids == [BOS]


@pytest.mark.parametrize("prompt", [[], [[]], [[5], []], ["the", []], np.array([], int)])
def test_no_tokens(engine: Engine, prompt: Any) -> None:
    with pytest.raises(SmeltError, match="empty"):
        engine.generate(prompt)
    assert engine.cache._active == []


@pytest.mark.parametrize("token", [-1, 384, 2**31, 2**40])
def test_foreign_tokens(engine: Engine, token: int) -> None:
    for call in (engine.generate, engine.logits, engine.start):
        with pytest.raises(SmeltError, match=f"{token} is outside the vocabulary of 384"):
            call([1, token])


@pytest.mark.parametrize("ids", [[1.5, 2.0], [1, 2.5], ["5", 1], [1, None]])
def test_what_is_no_token(engine: Engine, ids: Any) -> None:
    with pytest.raises((TypeError, SmeltError)):
        engine.logits(ids)


def test_special_tokens_in_a_prompt(engine: Engine) -> None:
    plain = engine.generate("the</s>", 2)
    assert EOS not in plain.prompt_token_ids
    parsed = engine.generate("the</s>", 2, parse_special=True)
    assert parsed.prompt_token_ids[-1] == EOS
    stream = engine.start("the</s>", 2, parse_special=True)
    assert stream.completion().prompt_token_ids[-1] == EOS


def test_timings(engine: Engine) -> None:
    c = engine.generate(prompt_ids(20, seed=99), 6)
    t = c.timings
    assert (t.prompt_tokens, t.generated_tokens) == (20, 6)
    assert t.prompt_seconds > 0 and t.generate_seconds > 0
    assert t.generated_per_second == pytest.approx(5 / t.generate_seconds)
    assert t.prompt_per_second == pytest.approx((20 - t.cached_tokens) / t.prompt_seconds)


def test_unknown_options(engine: Engine) -> None:
    for call in (engine.generate, engine.start):
        with pytest.raises(TypeError):
            call("the", 3, temprature=1.0)
    with pytest.raises(TypeError, match="one prompt"):
        engine.stream(["a", "b"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "options", [{"top_p": 2}, {"temperature": math.nan}, {"logit_bias": {384: 1.0}}, {"seed": -1}]
)
def test_bad_parameters_leave_nothing_behind(engine: Engine, options: dict[str, Any]) -> None:
    for call in (engine.generate, engine.start):
        with pytest.raises(SamplingError):
            call("the", 3, **options)
    assert engine.cache._active == []


def test_bad_logprobs_leave_nothing_behind(engine: Engine) -> None:
    with pytest.raises(SamplingError):
        engine.generate("the", 3, logprobs=-1)
    assert engine.cache._active == []


# --- sampling


def test_seeds(engine: Engine) -> None:
    one, two, three = (engine.generate("the", 20, temperature=2.0, seed=s) for s in (5, 5, 6))
    assert one.token_ids == two.token_ids != three.token_ids
    assert one.seed == 5


def test_a_fresh_seed_can_be_repeated(engine: Engine) -> None:
    one = engine.generate("the", 20, temperature=2.0)
    assert engine.generate("the", 20, temperature=2.0, seed=one.seed).token_ids == one.token_ids
    assert engine.generate("the", 20, temperature=2.0).seed != one.seed


def test_a_batch_draws_as_each_alone(engine: Engine) -> None:
    batch = engine.generate(["the", "and", "the"], 12, **SAMPLED)
    for prompt, c in zip(["the", "and", "the"], batch, strict=True):
        assert same(c, engine.generate(prompt, 12, **SAMPLED))


# --- stop texts


@pytest.fixture(scope="module")
def long_text(engine: Engine) -> Completion:
    c = engine.generate("Once upon a time", 60, temperature=1.5, seed=3)
    assert len(c.text) > 40
    return c


def stopped(engine: Engine, stop: Any) -> tuple[Completion, str]:
    options: dict[str, Any] = {"temperature": 1.5, "seed": 3, "stop": stop}
    c = engine.generate("Once upon a time", 60, **options)
    return c, "".join(p.text for p in engine.stream("Once upon a time", 60, **options))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
def test_any_part_of_the_text_stops_it(engine: Engine, long_text: Completion, length: int) -> None:
    for at in range(0, len(long_text.text) - length, 11):
        stop = long_text.text[at : at + length]
        c, streamed = stopped(engine, stop)
        assert c.text == streamed == long_text.text[: long_text.text.index(stop)]
        assert c.finish_reason == "stop"
        assert c.token_ids == long_text.token_ids[: len(c.token_ids)]


def test_the_first_of_several_stops(engine: Engine, long_text: Completion) -> None:
    text = long_text.text
    c, streamed = stopped(engine, ["never there", text[30:34], text[12:15], ""])
    end = min(text.index(text[30:34]), text.index(text[12:15]))
    assert c.text == streamed == text[:end]


def test_stops_that_never_come(engine: Engine, long_text: Completion) -> None:
    c, streamed = stopped(engine, ("never there", long_text.text[-4:] + "and more"))
    assert c.text == streamed == long_text.text
    assert c.finish_reason == "length"


def test_a_stop_that_is_no_text(engine: Engine) -> None:
    with pytest.raises(TypeError):
        engine.generate("the", 3, stop=[5])
    assert engine.cache._active == []


# --- probabilities


@pytest.mark.parametrize("options", [{}, SAMPLED])
def test_logprobs_are_those_of_logits(engine: Engine, options: dict[str, Any]) -> None:
    c = engine.generate("Once upon", 8, logprobs=5, **options)
    assert c.logprobs is not None and len(c.logprobs) == len(c.token_ids) == 8
    logits = engine.logits([*c.prompt_token_ids, *c.token_ids[:-1]]).astype(np.float64)
    for entry, token, row in zip(c.logprobs, c.token_ids, logits[-8:], strict=True):
        expected = row - row.max() - math.log(np.exp(row - row.max()).sum())
        assert entry.token_id == token
        assert entry.logprob == pytest.approx(expected[token], rel=1e-12)
        assert [i for i, _ in entry.top] == np.argsort(-expected, kind="stable")[:5].tolist()
        assert [p for _, p in entry.top] == pytest.approx([expected[i] for i, _ in entry.top])
        if not options:
            assert entry.top[0] == (token, entry.logprob)


def test_all_logprobs_sum_to_one(engine: Engine) -> None:
    c = engine.generate("the", 2, logprobs=384)
    assert c.logprobs is not None
    for entry in c.logprobs:
        values = [value for _, value in entry.top]
        assert len(values) == 384 and values == sorted(values, reverse=True)
        assert math.fsum(map(math.exp, values)) == pytest.approx(1.0, abs=1e-12)


def test_how_many_logprobs(engine: Engine) -> None:
    assert engine.generate("the", 2).logprobs is None
    c = engine.generate("the", 2, logprobs=0)
    assert c.logprobs is not None and [entry.top for entry in c.logprobs] == [[], []]


def test_logits(engine: Engine, fresh: Engine) -> None:
    ids = prompt_ids(70)
    logits = engine.logits(ids)
    assert logits.shape == (70, 384) and logits.dtype == np.float32
    assert np.array_equal(logits, fresh.logits(ids))
    assert np.array_equal(logits[:33], engine.logits(ids[:33]))
    chunks = list(engine.logits_in_chunks(ids))
    assert np.array_equal(np.concatenate(chunks), logits)
    assert max(map(len, chunks)) <= engine.chunk_tokens
    assert int(logits[-1].argmax()) == engine.generate(ids, 1).token_ids[0]


# --- making an Engine


def test_a_tokenizer_that_smelt_does_not_know(tmp_path: Path) -> None:
    """Token ids may be all that somebody needs; and a failure must not keep pages."""
    path = write_tiny_llama(tmp_path / "tiny.gguf", **SMALL)
    raw = path.read_bytes()
    value = raw.index(b"llama", raw.index(b"tokenizer.ggml.model"))
    path.write_bytes(raw[:value] + b"lemur" + raw[value + 5 :])
    with Engine(path) as engine:
        assert engine.logits([1, 5, 9]).shape == (3, 384)
        for _ in range(3):
            with pytest.raises(UnsupportedModelError, match="lemur"):
                engine.generate([1, 5, 9], 2)
        assert engine.cache._active == []


def test_bad_devices(path: Path) -> None:
    with pytest.raises(DeviceError, match=r"'abacus'.*auto, cpu"):
        Engine(path, device="abacus")
    with pytest.raises(DeviceError, match=r"f16, f32.*'q4'"):
        Engine(path, kv_type="q4")
    with pytest.raises(DeviceError, match="kv_type"):
        Engine(path, device="reference", kv_type="q4")
    for threads in (0, -1, 100_000):
        with pytest.raises(DeviceError, match=f"threads.*{threads}"):
            Engine(path, threads=threads)


def test_unknown_instruction_set(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMELT_ISA", "mmx")
    with pytest.raises(DeviceError, match=r"SMELT_ISA=mmx.*scalar"):
        Engine(path)
    monkeypatch.setenv("SMELT_ISA", "scalar")
    with Engine(path) as engine:
        assert "scalar" in engine.device


def test_bad_contexts(path: Path) -> None:
    for n_ctx in (0, -5):
        with pytest.raises(ContextOverflowError, match=str(n_ctx)):
            Engine(path, n_ctx=n_ctx)
    with pytest.raises(ValueError, match="chunk_tokens"):
        Engine(path, chunk_tokens=0)


def test_a_context_beyond_training_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "smelt"), Engine(path, n_ctx=N_CTX + 1) as engine:
        assert engine.n_ctx == N_CTX + 1
    assert str(N_CTX + 1) in caplog.text and str(N_CTX) in caplog.text


@pytest.mark.parametrize("n_ctx", [1, 5, PAGE_TOKENS])
def test_small_contexts(path: Path, engine: Engine, n_ctx: int) -> None:
    with Engine(path, n_ctx=n_ctx) as small:
        c = small.generate([BOS], None)
        assert len(c.token_ids) == n_ctx
        assert c.token_ids == engine.generate([BOS], n_ctx).token_ids
        with pytest.raises(ContextOverflowError):
            small.generate(prompt_ids(n_ctx + 1))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Engine(tmp_path / "absent.gguf")
    with pytest.raises(IsADirectoryError):
        Engine(tmp_path)


@pytest.mark.parametrize("n_ctx", [2**31, 2**62])
def test_absurd_contexts_cost_no_memory(path: Path, n_ctx: int) -> None:
    with Engine(path, n_ctx=n_ctx) as engine:
        assert len(engine.generate("the", 2).token_ids) == 2
    with Engine(path, "reference", n_ctx=n_ctx) as engine:
        try:
            assert len(engine.generate("the", 2).token_ids) == 2
        except DeviceError as error:  # it holds whole rows of scores
            assert "memory" in str(error)


# --- damaged weights


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_weights_that_are_no_numbers(tmp_path: Path, device: str) -> None:
    path = write_tiny_llama(tmp_path / "nan.gguf", **SMALL)
    offset = GGUFFile(path).tensors["blk.0.ffn_norm.weight"].offset
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(raw)
    with Engine(path, device=device) as engine:
        for options in ({}, SAMPLED):
            with pytest.raises(SamplingError, match="NaN"):
                engine.generate("the", 3, **options)
        assert engine.cache._active == []
        assert np.isnan(engine.logits([1, 5])).all()


# --- devices and debugging


@pytest.mark.parametrize("format", ["f32", "q8_0"])
def test_reference_gives_the_same_text(tmp_path: Path, format: str) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", **(SMALL | {"format": format, "biases": True}))
    with Engine(path, "cpu", kv_type="f32") as cpu, Engine(path, "reference") as reference:
        for prompt in PROMPTS[:4]:
            fast, exact = (e.generate(prompt, 16, logprobs=2) for e in (cpu, reference))
            assert exact.logprobs is not None
            for mine, truth in zip(fast.token_ids, exact.logprobs, strict=True):
                if truth.top[0][1] - truth.top[1][1] < 0.02:
                    break  # too close to call; what follows has another history
                assert mine == truth.token_id
            else:
                assert fast.text == exact.text


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_debug_output(
    path: Path, device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Engine(path, device) as silent:
        expected = silent.generate("the", 3)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SMELT_DEBUG", "1")
    with Engine(path, device) as engine:
        assert same(engine.generate("the", 3), expected)
        program = engine._program.program
    lines = capsys.readouterr().err.splitlines()
    steps = [at for at, line in enumerate(lines) if line.startswith("step: ")]
    assert len(steps) == 3
    names = [value.name for op in program.ops for value in op.outputs]
    for at in steps:
        shown = [line.split()[0] for line in lines[at + 1 : at + 1 + len(names)]]
        assert shown == names  # every value of every op in order, the logits last
    assert "rms" in lines[1] and "blk.1.ffn_inp" in "".join(lines)


def test_debug_can_be_switched_off(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMELT_DEBUG", "0")
    with Engine(path) as engine:
        engine.generate("the", 2)
    assert capsys.readouterr().err == ""


# --- a model that was trained


def test_a_real_model_tells_a_story(shared: Path) -> None:
    with Engine(shared / "models" / "stories260K-f32.gguf", threads=2) as engine:
        c = engine.generate("Once upon a time", 40)
        assert c.text.startswith(", there was a little")
        assert "".join(p.text for p in engine.stream("Once upon a time", 40)) == c.text
        assert engine.generate(["Once upon a time", "Lily"], 40)[0].text == c.text
        first = engine.generate("Once upon a time", 200, stop=".")
        assert first.finish_reason == "stop" and "." not in first.text
        assert c.text.startswith(first.text + ".")
