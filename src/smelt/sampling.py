"""The sampler chain: from one vector of logits to the next token.

    logit bias > penalties > top-k > typical > top-p > min-p > temperature > draw

This is llama.cpp's default order. What cuts candidates off works on the model's own distribution
and the temperature comes last, so a high temperature flattens what is left and never brings back
what was cut. A temperature of 0 takes the best token after bias and penalties and skips the rest.

The same seed, logits and history give the same token on every platform: the random bits are
PCG64's raw output, and the stages (sampling_stages.py) compute the same bits everywhere.
"""

from __future__ import annotations

import math
import operator
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smelt.errors import SamplingError
from smelt.sampling_stages import (
    Candidates,
    Shift,
    Stage,
    draw,
    largest,
    logit_bias,
    min_p,
    penalties,
    possible,
    temperature,
    top_k,
    top_p,
    typical,
)

__all__ = ["Logprobs", "Sampler", "SamplingParams"]

# Largest logit bias or penalty: far above any use, and no sum of them overflows.
_MAX_SHIFT = 1e6

ALL_BANNED = "logit_bias bans every token that the logits leave possible"

# name: (lowest, highest)
_REAL_RANGES = {
    "temperature": (0.0, 1e6),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "repetition_penalty": (1e-3, 1e3),
    "presence_penalty": (-_MAX_SHIFT, _MAX_SHIFT),
    "frequency_penalty": (-_MAX_SHIFT, _MAX_SHIFT),
}
_INTEGER_RANGES = {"top_k": (0, 2**31 - 1), "penalty_window": (-1, 2**31 - 1)}
_SEED_RANGE = (0, 2**64 - 1)


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to choose a token; the defaults are greedy decoding.

    Raises SamplingError, naming the parameter, its range and the value found.
    """

    temperature: float = 0.0
    """Divides the logits before the draw; 0 takes the most likely token."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the fewest most likely tokens whose probabilities sum to this; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as likely as the most likely one; 0 keeps all."""
    typical_p: float = 1.0
    """Keep the fewest most typical tokens whose probabilities sum to this; 1 keeps all."""
    repetition_penalty: float = 1.0
    """Makes tokens of the window less likely where above 1, more likely below; 1 is off."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of every token that occurs in the window."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it occurs in the window."""
    penalty_window: int = 64
    """How many of the latest tokens the penalties look at: 0 is none, -1 the whole history."""
    logit_bias: Mapping[int, float] | None = None
    """Added to the logits of these token ids; -inf bans a token."""
    seed: int | None = None
    """Of the random numbers; None draws a fresh one, which `Sampler.seed` tells."""

    def __post_init__(self) -> None:
        for name, (low, high) in _REAL_RANGES.items():
            self._set(name, _real(name, getattr(self, name), low, high))
        for name, bounds in _INTEGER_RANGES.items():
            self._set(name, _integer(name, getattr(self, name), *bounds))
        if self.seed is not None:
            self._set("seed", _integer("seed", self.seed, *_SEED_RANGE))
        if self.logit_bias is not None:
            self._set("logit_bias", _biases(self.logit_bias))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _real(name: str, value: Any, low: float, high: float) -> float:
    # NaN fails the comparison; an integer too large for a float is compared as an integer.
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not low <= value <= high:
        raise SamplingError(f"{name} must be a number from {low:g} to {high:g}, found {value!r}")
    return float(value)


def _integer(name: str, value: Any, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise SamplingError(f"{name} must be an integer from {low} to {high}, found {value!r}")
    return number


def _biases(value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise SamplingError(f"logit_bias must map token ids to numbers, found {value!r}")
    biases = {}
    for key, bias in value.items():
        token = _integer("a token id of logit_bias", key, 0, 2**31 - 1)
        biases[token] = _real(f"logit_bias[{token}]", bias, -math.inf, _MAX_SHIFT)
    return biases


class Logprobs(NamedTuple):
    """Natural-log probabilities at one position."""

    logprob: float
    """Of the chosen token."""
    top: list[tuple[int, float]]
    """(token id, log probability) of the most likely tokens, best first."""


class Sampler:
    """Chooses one token after another for one sequence.

    `n_vocab` is the length of the logits. Raises SamplingError where a biased id is beyond it.
    """

    def __init__(self, params: SamplingParams, n_vocab: int) -> None:
        self.params = params
        self.n_vocab = n_vocab
        #: The seed in use: that of the parameters, or the fresh one drawn for it.
        self.seed = secrets.randbits(64) if params.seed is None else params.seed
        # Raw output: NumPy keeps a bit generator's stream for ever, but not a Generator's.
        self._bits = np.random.PCG64(self.seed)
        self._shifts = _shifts(params, n_vocab)
        self._stages = _stages(params)
        # Kept from token to token: fresh pages for them would cost more than a top-k.
        self._ids = np.arange(n_vocab)
        self._scores = np.empty(n_vocab, np.float64)

    def sample(self, logits: NDArray[np.floating[Any]], history: Sequence[int]) -> int:
        """The next token of a sequence whose tokens so far, prompt included, are `history`.

        logits: [n_vocab]; −inf marks a token that cannot come. Raises SamplingError for logits of
        another shape, with NaN or +inf among them or all −inf, and for a history with foreign ids.
        """
        best = self._best(logits)
        if not self._shifts and self.params.temperature == 0.0:
            return best
        scores = self._scores
        scores[:] = logits
        for shift in self._shifts:
            shift(scores, history)
        best = int(np.argmax(scores))
        if scores[best] == -math.inf:
            raise SamplingError(ALL_BANNED)
        if self.params.temperature == 0.0:
            return best
        return self._draw(Candidates(self._ids, scores))

    def _draw(self, candidates: Candidates) -> int:
        for stage in self._stages:
            candidates = stage(candidates)
        return draw(candidates, self._uniform())

    @property
    def enough(self) -> int:
        """How many of the largest logits decide the next token (see sample_top); 0: all do.

        Biases that only lower, such as bans, put no token in front of more than there are biases.
        """
        n = 1 if self.params.temperature == 0.0 else self.params.top_k
        if n == 0 or not self._only_lowers():
            return 0
        return min(n + len(self.params.logit_bias or ()), self.n_vocab)

    def _only_lowers(self) -> bool:
        """Whether all that shifts logits is a bias, and none of them raises one."""
        biases = self.params.logit_bias or {}
        return len(self._shifts) == bool(biases) and max(biases.values(), default=0.0) <= 0.0

    def sample_top(self, top: Sequence[tuple[int, float]]) -> int:
        """The same token as sample(), from the `enough` largest logits alone.

        top: (id, logit) of each, the largest first and of equal ones the lowest id; a NaN or
        +inf anywhere among the logits is in front. Raises SamplingError for those, and where none
        is possible.
        """
        first, logit = top[0]
        if logit == -math.inf:
            raise SamplingError(f"all {self.n_vocab} logits are -inf: no token is possible")
        if not math.isfinite(logit):
            raise SamplingError(
                f"there is a NaN or +inf among the logits, the first that of token {first} "
                f"({logit}): the model file or the computation is damaged"
            )
        if biases := self.params.logit_bias:
            top = [(token, logit + biases.get(token, 0.0)) for token, logit in top]
            first, logit = min(top, key=lambda entry: (-entry[1], entry[0]))
            if logit == -math.inf:
                raise SamplingError(ALL_BANNED)
        if self.params.temperature == 0.0:
            return first
        ids, logits = zip(*sorted(top), strict=True)
        return self._draw(Candidates(np.array(ids, np.intp), np.array(logits, np.float64)))

    def logprobs(self, logits: NDArray[np.floating[Any]], token: int, n: int) -> Logprobs:
        """Log probabilities of `token` and of the `n` most likely tokens, of the unchanged logits.

        A log-softmax in float64: no bias, penalty or temperature enters. Tokens with a logit of
        −inf are never among the most likely. Raises SamplingError as `sample` does, and for a
        token outside the vocabulary or a negative n.
        """
        best = self._best(logits)
        token = _integer("the token", token, 0, self.n_vocab - 1)
        n = _integer("the number of log probabilities", n, 0, 2**31 - 1)
        shifted = logits.astype(np.float64) - float(logits[best])
        shifted -= math.log(float(np.exp(shifted).sum()))
        top = largest(shifted, n)
        top = top[np.argsort(-shifted[top], kind="stable")]
        pairs = [(int(i), float(shifted[i])) for i in top if shifted[i] > -math.inf]
        return Logprobs(float(shifted[token]), pairs)

    def _best(self, logits: NDArray[np.floating[Any]]) -> int:
        """The lowest id of a largest logit; the one pass that greedy decoding needs.

        It is also the check of the values, since argmax stops at a NaN.
        """
        if logits.shape != (self.n_vocab,) or logits.dtype.kind != "f":
            raise SamplingError(
                f"the logits must be {self.n_vocab} floats, one a token of the vocabulary; "
                f"found {logits.dtype} of shape {logits.shape}"
            )
        best = int(np.argmax(logits))
        if math.isfinite(logits[best]):
            return best
        if logits[best] == -math.inf:
            raise SamplingError(f"all {self.n_vocab} logits are -inf: no token is possible")
        bad = np.flatnonzero(np.isnan(logits) | (logits == math.inf))
        raise SamplingError(
            f"{bad.size} of {self.n_vocab} logits are NaN or +inf, the first that of token "
            f"{bad[0]} ({float(logits[bad[0]])}): the model file or the computation is damaged"
        )

    def _uniform(self) -> float:
        """The next random number in [0, 1): 53 bits, as many as a float64 holds."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53


def _shifts(params: SamplingParams, n_vocab: int) -> list[Shift]:
    """The stages before the first choice; those at their neutral value are left out."""
    shifts = []
    if params.logit_bias:
        if max(params.logit_bias) >= n_vocab:
            raise SamplingError(
                f"logit_bias names token {max(params.logit_bias)}, but the vocabulary has "
                f"{n_vocab} tokens"
            )
        shifts.append(logit_bias(params.logit_bias))
    amounts = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
    if amounts != (1.0, 0.0, 0.0) and params.penalty_window != 0:
        shifts.append(penalties(*amounts, params.penalty_window))
    return shifts


def _stages(params: SamplingParams) -> list[Stage]:
    """The stages that narrow the candidates; those at their neutral value are left out."""
    stages: list[Stage] = [possible]
    if params.top_k > 0:
        stages.insert(0, top_k(params.top_k))  # first, so that the rest need not look at them all
    if params.typical_p < 1.0:
        stages.append(typical(params.typical_p))
    if params.top_p < 1.0:
        stages.append(top_p(params.top_p))
    if params.min_p > 0.0:
        stages.append(min_p(params.min_p))
    if params.temperature not in (0.0, 1.0):
        stages.append(temperature(params.temperature))
    return stages
