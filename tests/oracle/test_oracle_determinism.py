"""The same logits, bit for bit, however a real model is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import pytest
from measure import Oracle

from smelt import Engine, _cpu

OracleOf = Callable[[str], Oracle]
NAMES = [f"prose-code-7m-{format}" for format in ("Q4_K_M", "Q6_K", "Q8_0", "F16")]
KV_TYPES = ("f16", "f32")


def tokens(oracle: Oracle, prompt: str, n: int) -> list[int]:
    p = oracle.prompts[prompt]
    return [*p.tokens, *p.greedy][:n]


def engine_of(oracle: Oracle, kv_type: str) -> Engine:
    return oracle.cpu if kv_type == "f16" else oracle.precise


def assert_same_bits(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype == np.float32 and np.isfinite(wanted).all()
    np.testing.assert_array_equal(got.view(np.int32), wanted.view(np.int32))


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_threads_and_chunks(oracle_of: OracleOf, name: str, kv_type: str) -> None:
    """1 and 2 threads; the prompt in chunks of 1, 7 and 64 tokens and all at once."""
    oracle = oracle_of(name)
    ids = tokens(oracle, "class", 101)
    with oracle.engine(kv_type=kv_type, threads=1) as engine:
        wanted = engine.logits(ids)
    for threads, chunk in ((2, 512), (2, 1), (1, 7), (2, 7), (2, 64), (3, 33)):
        with oracle.engine(kv_type=kv_type, threads=threads, chunk_tokens=chunk) as engine:
            assert_same_bits(engine.logits(ids), wanted)


@pytest.mark.parametrize("isa", _cpu.instruction_sets())
@pytest.mark.parametrize("name", NAMES)
def test_instruction_sets(
    oracle_of: OracleOf, name: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefill and single tokens; the plainest against the widest, and all between."""
    oracle = oracle_of(name)
    ids = tokens(oracle, "movie", 20)
    wanted = oracle.cpu.logits(ids)
    monkeypatch.setenv("SMELT_ISA", isa)
    for chunk in (512, 1):
        with oracle.engine(chunk_tokens=chunk) as engine:
            assert isa in engine.device
            assert_same_bits(engine.logits(ids), wanted)


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_beside_other_sequences(oracle_of: OracleOf, name: str, kv_type: str) -> None:
    """Four prompts in one step, and in steps that cut each of them elsewhere."""
    oracle = oracle_of(name)
    engine = engine_of(oracle, kv_type)
    prompts = [tokens(oracle, prompt, 60) for prompt in ("code", "prose", "unicode", "hello")]
    alone = [engine.logits(ids) for ids in prompts]
    for cuts in ([(), (), (), ()], [(5,), (32,), (1, 50), ()], [(33, 34), (), (10,), (4,)]):
        for got, wanted in zip(together(engine, prompts, cuts), alone, strict=True):
            assert_same_bits(got, wanted)


def together(
    engine: Engine, prompts: Sequence[list[int]], cuts: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
    """Logits of every prompt, all evaluated side by side; step i takes each up to its cut i."""
    sequences = [engine.cache.begin(ids, reuse=False) for ids in prompts]
    parts: list[list[np.ndarray]] = [[] for _ in prompts]
    for step in range(3):
        work, owners = [], []
        for i, (ids, cut) in enumerate(zip(prompts, cuts, strict=True)):
            ends = [0, *cut, len(ids)]
            new = ids[ends[step] : ends[step + 1]] if step + 1 < len(ends) else []
            if new:
                work.append((sequences[i], new, range(len(new))))
                owners.append(i)
        if work:
            logits = engine.step(work, engine.cancellations)
            ends = list(accumulate(len(new) for _, new, _ in work))
            for i, part in zip(owners, np.split(logits, ends[:-1]), strict=True):
                parts[i].append(part)
    for sequence in sequences:
        engine.cache.end(sequence, keep=False)
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_generations(oracle_of: OracleOf, name: str) -> None:
    """generate() of four prompts, and of each alone in an Engine of its own and in a used one."""
    oracle = oracle_of(name)
    texts = [oracle.prompts[prompt].text for prompt in ("movie", "class", "one", "prose")]
    with oracle.engine(chunk_tokens=16) as engine:
        batch = engine.generate(texts, max_tokens=16, logprobs=8)
    for text, together in zip(texts, batch, strict=True):
        with oracle.engine() as fresh:
            alone = fresh.generate(text, max_tokens=16, logprobs=8)
            again = fresh.generate(text, max_tokens=16, logprobs=8)
        used = oracle.cpu.generate(text, max_tokens=16, logprobs=8)
        assert again.timings.cached_tokens == len(again.prompt_token_ids) - 1
        for other in (together, again, used):
            assert other.token_ids == alone.token_ids and other.logprobs == alone.logprobs
