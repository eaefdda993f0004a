"""What generation returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Completion", "Perplexity", "Piece", "Timings", "TokenLogprob"]


@dataclass(frozen=True)
class Piece:
    """A step of a streamed completion.

    text: what became final with this token; "" while a character or a possible stop text waits.
    token_id: the token, or None for the last piece where it only brings text that had waited.
    """

    text: str
    token_id: int | None


@dataclass(frozen=True)
class TokenLogprob:
    """Natural-log probabilities at one generated token, from the model's own distribution.

    top: (token id, log probability) of the most likely tokens, best first.
    """

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Timings:
    """Counts and wall-clock seconds of one completion.

    prompt_seconds: until the first token was there; generate_seconds: all later tokens.
    In a batch, steps are shared, so a completion's seconds include its neighbours' work.
    """

    prompt_tokens: int
    cached_tokens: int  # of the prompt, found in the KV cache
    prompt_seconds: float
    generated_tokens: int
    generate_seconds: float

    @property
    def prompt_per_second(self) -> float:
        """Prompt tokens evaluated a second."""
        return _rate(self.prompt_tokens - self.cached_tokens, self.prompt_seconds)

    @property
    def generated_per_second(self) -> float:
        """Tokens a second after the first."""
        return _rate(self.generated_tokens - 1, self.generate_seconds)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if count > 0 and seconds > 0 else 0.0


@dataclass(frozen=True)
class Completion:
    """A finished generation.

    token_ids: what was generated, without the token that ended it; text: the same, cut before a
    stop text. finish_reason: "stop" (an end token or a stop text), "length" (max_tokens or the
    context was used up) or "cancelled".
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    logprobs: list[TokenLogprob] | None
    timings: Timings
    prompt_token_ids: list[int]
    seed: int


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood of n_tokens predictions, and its standard error."""

    value: float
    stderr: float
    n_tokens: int
