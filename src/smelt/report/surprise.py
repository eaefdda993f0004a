"""How well a model foresaw each token of a text: probabilities, surprise, and what it expected.

Surprise is -log2 of a token's probability (Shannon 1948): 1 bit where the model gave it one in two,
10 bits where it gave it one in a thousand. Its mean over a text is log2 of the perplexity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SmeltError

if TYPE_CHECKING:
    from ..engine import Engine
    from ..tokenizer import Tokenizer

__all__ = [
    "LEVELS",
    "LEVEL_NAMES",
    "Chunk",
    "Scored",
    "Surprise",
    "log_probabilities",
    "measure_surprise",
    "percent",
    "score",
]

# Five levels of surprise by the token's probability: from 50 %, from 10 %, from 1 %, from 0.1 %.
LEVELS = (0.5, 0.1, 0.01, 0.001)
LEVEL_NAMES = ("50 % or more", "10 to 50 %", "1 to 10 %", "0.1 to 1 %", "below 0.1 %")

N_EXPECTED = 10  # of the most likely tokens kept at each place


@dataclass(frozen=True)
class Scored:
    """A token and what the model thought of it before it came.

    bits: surprise; rank: 1 where it was the most likely one. Both are None for the first token,
    before which there is nothing. expected: the most likely tokens and their probabilities.
    """

    token_id: int
    bits: float | None
    rank: int | None
    expected: tuple[tuple[int, float], ...]

    @property
    def probability(self) -> float | None:
        return None if self.bits is None else float(2.0**-self.bits)


@dataclass(frozen=True)
class Chunk:
    """The tokens that together make the next whole characters of a text, most often one token.

    bits: the sum of theirs, which is the surprise of all of them; special: a control token, whose
    text is its spelling.
    """

    text: str
    tokens: tuple[Scored, ...]
    special: bool

    @property
    def bits(self) -> float | None:
        known = [token.bits for token in self.tokens if token.bits is not None]
        return sum(known) if known else None

    @property
    def level(self) -> int:
        """0 for what was foreseen to 4 for what was not at all; see LEVELS."""
        bits = self.bits
        return 0 if bits is None else sum(bits > -log2(least) for least in LEVELS)


@dataclass(frozen=True)
class Surprise:
    """A text's tokens with their surprise, and what the model expects after the last one."""

    tokens: tuple[Scored, ...]
    following: tuple[tuple[int, float], ...]

    @property
    def mean_bits(self) -> float:
        """Bits a token; NaN where there is only one token."""
        known = [token.bits for token in self.tokens if token.bits is not None]
        return sum(known) / len(known) if known else float("nan")

    @property
    def perplexity(self) -> float:
        """Two to the power of mean_bits: as unsure as between so many equally likely tokens."""
        return float(2.0**self.mean_bits)

    def chunks(self, tokenizer: Tokenizer) -> list[Chunk]:
        """The text in pieces that end where characters do."""
        made: list[Chunk] = []
        waiting: list[Scored] = []
        decoder = tokenizer.stream(first=True)
        for token in self.tokens:
            if tokenizer.is_special(token.token_id):
                made += _rest(decoder.flush(), waiting)
                waiting = []
                made.append(Chunk(tokenizer.token_text(token.token_id), (token,), True))
                continue
            waiting.append(token)
            if text := decoder.push(token.token_id):
                made.append(Chunk(text, tuple(waiting), False))
                waiting = []
        return made + _rest(decoder.flush(), waiting)


def measure_surprise(engine: Engine, ids: Sequence[int]) -> Surprise:
    """Evaluates token ids from an empty cache and scores each of them.

    Raises what Engine.logits raises: ContextOverflowError, SmeltError for no tokens or logits that
    are no numbers.
    """
    return score(engine.logits_in_chunks(ids), ids)


def score(logits: Iterable[np.ndarray], ids: Sequence[int]) -> Surprise:
    """The same from logits: parts of [len(ids), n_vocab], the rows after each token."""
    tokens = [Scored(int(ids[0]), None, None, ())]
    following: tuple[tuple[int, float], ...] = ()
    at = 1
    for part in logits:
        for row in part:
            if not row.max() < np.inf:  # also false for NaN, which max() passes on
                raise SmeltError(
                    f"the logits after token {at} of the text are not all numbers: "
                    "`smelt trace --stats` shows in which op that begins"
                )
            logp = log_probabilities(row)
            expected = _most_likely(logp)
            if at < len(ids):
                token = int(ids[at])
                bits = float(-logp[token] / np.log(2.0)) + 0.0  # never -0
                rank = int(np.count_nonzero(logp > logp[token])) + 1
                tokens.append(Scored(token, bits, rank, expected))
            else:
                following = expected
            at += 1
    return Surprise(tuple(tokens), following)


def percent(probability: float) -> str:
    """As many digits as tell something: > 99 %, 97 %, 4.2 %, 0.031 %, then 1 in 240,000."""
    value = 100 * probability
    if probability < 1e-9:
        return "under 1 in 10⁹"
    if probability < 1e-5:
        times = float(f"{1 / probability:.2g}")
        return f"1 in {times:,.0f}"
    if 99.5 <= value < 100:
        return "> 99 %"
    if value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.95 else f"{value:.2g} %"


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """ln of the softmax over the last axis, in float64."""
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    result: np.ndarray = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return result


def _most_likely(logp: np.ndarray) -> tuple[tuple[int, float], ...]:
    """The most likely tokens, the first of equal ones first."""
    n = min(N_EXPECTED, len(logp))
    candidates = np.sort(np.argpartition(-logp, n - 1)[:n])
    order = candidates[np.argsort(-logp[candidates], kind="stable")]
    return tuple((int(token), float(np.exp(logp[token]))) for token in order)


def _rest(text: str, waiting: list[Scored]) -> list[Chunk]:
    return [Chunk(text, tuple(waiting), False)] if waiting else []
