"""The Metal device on real models: the oracle's greedy tokens, and the CPU's perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from measure import PROMPTS, Oracle
from test_oracle_logits import DECIDED, DECIDED_FLOAT

from metal_device import need_metal_device
from smelt import Engine

NAMES = [
    "stories260K-f32",
    *(f"prose-code-7m-{f}" for f in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")),
]
CHUNKS = 4  # of 512 tokens: enough for half a per cent of standard error, quick enough to simulate

OracleOf = Callable[[str], Oracle]


@pytest.fixture(scope="module", params=NAMES)
def oracle(request: pytest.FixtureRequest, oracle_of: OracleOf) -> Oracle:
    return oracle_of(request.param)


@pytest.fixture(scope="module")
def engine(oracle: Oracle) -> Iterator[Engine]:
    need_metal_device()
    with oracle.engine("metal") as engine:
        yield engine


def test_greedy_tokens_where_the_oracle_is_decided(oracle: Oracle, engine: Engine) -> None:
    decided_steps = 0
    for key, prompt in oracle.prompts.items():
        ids = [*prompt.tokens, *prompt.greedy[:-1]]
        choices = engine.logits(ids)[len(prompt.tokens) - 1 :].argmax(axis=1)
        decided = np.array(prompt.margins) > DECIDED
        wrong = decided & (choices != prompt.greedy)
        assert not wrong.any(), (key, np.flatnonzero(wrong))
        decided_steps += decided.sum()
    assert decided_steps > 100


@pytest.mark.parametrize("key", PROMPTS)
def test_plain_greedy_continuation(oracle: Oracle, engine: Engine, key: str) -> None:
    """generate() itself, token by token, as far as the oracle is decided."""
    wanted = oracle.prompts[key]
    floats = oracle.name.endswith(("F16", "f32"))
    limit = DECIDED_FLOAT if floats else DECIDED
    draws = [i for i, margin in enumerate(wanted.margins) if margin < limit]
    n = draws[0] if draws else len(wanted.greedy)
    completion = engine.generate(wanted.text, max_tokens=max(n, 1))
    assert completion.token_ids[:n] == wanted.greedy[:n]


def test_perplexity_is_the_cpu_s(oracle: Oracle, engine: Engine) -> None:
    ids = engine.tokenize(oracle.held)[: CHUNKS * 512 + 16]
    text = engine.detokenize(ids)
    wanted, found = oracle.cpu.perplexity(text), engine.perplexity(text)
    assert found.n_tokens == wanted.n_tokens == CHUNKS * 255
    assert found.value == pytest.approx(wanted.value, rel=0.003)
