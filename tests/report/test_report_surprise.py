"""Surprise against the definition, worked out from Engine.logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from report_examples import FIRST_TRAP, N_VOCAB, trap_tokenizer

from small_engine import prompt_ids
from smelt import Engine
from smelt.errors import ContextOverflowError, SmeltError
from smelt.report.surprise import LEVEL_NAMES, LEVELS, measure_surprise, percent, score


def log2_probabilities(row: np.ndarray) -> list[float]:
    top = float(row.max())
    log_sum = math.log(math.fsum(math.exp(float(x) - top) for x in row))
    return [(float(x) - top - log_sum) / math.log(2) for x in row]


@pytest.mark.parametrize("n", [1, 2, 31, 33])
def test_against_the_logits(engine: Engine, n: int) -> None:
    ids = prompt_ids(n)
    logits = engine.logits(ids)
    found = measure_surprise(engine, ids)
    assert [token.token_id for token in found.tokens] == ids
    assert found.tokens[0].bits is found.tokens[0].rank is None
    for at in range(1, n):
        expected = log2_probabilities(logits[at - 1])
        token = found.tokens[at]
        assert token.bits == pytest.approx(-expected[ids[at]], abs=1e-12)
        assert token.probability == pytest.approx(2 ** expected[ids[at]], rel=1e-12)
        assert token.rank == 1 + sum(p > expected[ids[at]] for p in expected)
        best = sorted(range(len(expected)), key=lambda t: -expected[t])[:10]
        assert [t for t, _ in token.expected] == best
        assert [p for _, p in token.expected] == pytest.approx([2 ** expected[t] for t in best])
    after = log2_probabilities(logits[-1])
    assert found.following[0][0] == int(logits[-1].argmax())
    assert found.following[0][1] == pytest.approx(2 ** max(after))


def test_perplexity_is_that_of_the_mean(engine: Engine) -> None:
    ids = prompt_ids(20)
    found = measure_surprise(engine, ids)
    rows = engine.logits(ids)
    losses = [-log2_probabilities(rows[at])[ids[at + 1]] for at in range(19)]
    assert found.mean_bits == pytest.approx(math.fsum(losses) / 19)
    assert found.perplexity == pytest.approx(2 ** (math.fsum(losses) / 19))


def test_one_token_has_no_mean(engine: Engine) -> None:
    found = measure_surprise(engine, prompt_ids(1))
    assert math.isnan(found.mean_bits) and math.isnan(found.perplexity)


def test_parts_of_any_size_are_the_same() -> None:
    logits = np.random.default_rng(1).normal(size=(9, 40))
    ids = list(range(9))
    whole = score([logits], ids)
    assert score([logits[:1], logits[1:6], logits[6:]], ids) == whole
    assert len(whole.tokens) == 9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    logits = np.zeros((4, 10))
    logits[2, 5] = bad
    with pytest.raises(SmeltError, match=r"after token 3 .*smelt trace"):
        score([logits], [1, 2, 3, 4])


def test_a_banned_token_is_infinitely_surprising() -> None:
    logits = np.zeros((2, 10))
    logits[0, 7] = -np.inf
    token = score([logits], [1, 7]).tokens[1]
    assert token.bits == np.inf and token.probability == 0 and token.rank == 10


def test_a_prompt_that_is_too_long_is_refused(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError):
        measure_surprise(engine, prompt_ids(engine.n_ctx + 1))


def test_chunks_are_the_text_and_their_bits_the_sum() -> None:
    tokenizer = trap_tokenizer()
    text = "a “b” 漢字é"
    ids = tokenizer.encode(text)
    found = score([np.random.default_rng(0).normal(size=(len(ids), N_VOCAB))], ids)
    chunks = found.chunks(tokenizer)
    assert chunks[0].special and chunks[0].text == "<s>" and chunks[0].bits is None
    assert "".join(chunk.text for chunk in chunks[1:]) == tokenizer.decode(ids)
    assert [token for chunk in chunks for token in chunk.tokens] == list(found.tokens)
    quote = next(chunk for chunk in chunks if chunk.text == "“")
    assert len(quote.tokens) == 3  # bytes, for the vocabulary has no such token
    assert quote.bits == sum(token.bits for token in quote.tokens if token.bits)


def test_a_character_that_is_cut_off_is_shown_as_such() -> None:
    tokenizer = trap_tokenizer()
    ids = [1, *tokenizer.encode("é", add_bos=False)[:-1]]
    found = score([np.zeros((len(ids), N_VOCAB))], ids)
    assert found.chunks(tokenizer)[-1].text.endswith("\ufffd")


def test_levels() -> None:
    assert len(LEVEL_NAMES) == len(LEVELS) + 1
    tokenizer = trap_tokenizer()
    for level, p in enumerate([0.6, 0.3, 0.05, 0.005, 0.0005]):
        logits = np.full((2, N_VOCAB), math.log((1 - p) / (N_VOCAB - 1)))
        logits[0, FIRST_TRAP] = math.log(p)
        chunk = score([logits], [1, FIRST_TRAP]).chunks(tokenizer)[-1]
        assert chunk.level == level, p


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "100 %"),
        (0.99999, "> 99 %"),
        (0.9949, "99 %"),
        (0.0996, "10 %"),
        (0.0421, "4.2 %"),
        (0.01, "1.0 %"),
        (0.00312, "0.31 %"),
        (4.04e-6, "1 in 250,000"),
        (0.0, "under 1 in 10⁹"),
    ],
)
def test_percent(probability: float, text: str) -> None:
    assert percent(probability) == text
