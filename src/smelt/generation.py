"""One prompt on its way to a completion: what it still has to evaluate, and its text so far."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from typing import TYPE_CHECKING

from .completion import Completion, Piece, Timings, TokenLogprob
from .sampling import Sampler

if TYPE_CHECKING:
    import numpy as np

    from .backends.base import Top
    from .kv_cache import Sequence
    from .tokenizer import Tokenizer

__all__ = ["Generation", "StopText"]


class StopText:
    """Cuts a growing text before the first of some stop texts.

    What may be the beginning of a stop text is held back until it is certain.
    """

    def __init__(self, stops: Items[str]):
        self.stops = [stop for stop in stops if stop]
        self.found = False
        self._held = ""

    def push(self, text: str) -> str:
        """Takes more text; returns what is certain not to belong to a stop text."""
        if self.found:
            return ""
        if not self.stops:
            return text
        self._held += text
        hits = [(at + len(stop), at) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if hits:
            self.found = True
            return self._release(min(hits)[1])
        return self._release(len(self._held) - self._doubtful())

    def flush(self) -> str:
        """What was held back, once no more text can come."""
        return "" if self.found else self._release(len(self._held))

    def _doubtful(self) -> int:
        """Length of the longest end of the text that begins a stop text."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self.stops):
                return n
        return 0

    def _release(self, n: int) -> str:
        released, self._held = self._held[:n], self._held[n:]
        return released


class Generation:
    """State of one completion. The Engine evaluates `pending` and hands over the logits."""

    def __init__(
        self,
        prompt: list[int],
        sequence: Sequence,
        sampler: Sampler,
        tokenizer: Tokenizer,
        *,
        max_tokens: int | None,
        stop: Items[str],
        logprobs: int | None,
        n_ctx: int,
    ):
        self.prompt = prompt
        self.sequence = sequence
        self.cached = len(sequence.tokens)
        self.pending = prompt[self.cached :]
        self.token_ids: list[int] = []
        self._history = list(prompt)  # prompt and completion, for the penalties
        self.finish_reason = "length" if max_tokens == 0 else ""
        self._sampler = sampler
        self._eog_ids = tokenizer.eog_ids
        self._decoder = tokenizer.stream(first=False)
        self._stop = StopText(stop)
        self._max_tokens = max_tokens
        self._n_ctx = n_ctx
        self._n_logprobs = logprobs
        self._logprobs: list[TokenLogprob] = []
        self._text: list[str] = []
        self._started = time.perf_counter()
        self._first_token = self._last_token = 0.0

    @property
    def active(self) -> bool:
        return not self.finish_reason

    def accept(self, logits: np.ndarray | Top) -> Piece:
        """Chooses the next token from the logits [n_vocab] of the last pending one, or from as
        many of the largest as the sampler needs (see Sampler.sample_top)."""
        if isinstance(logits, list):
            token = self._sampler.sample_top(logits)
        else:
            token = self._sampler.sample(logits, self._history)
        self._last_token = time.perf_counter()
        self._first_token = self._first_token or self._last_token
        if token in self._eog_ids:
            return self.finish("stop")
        if self._n_logprobs is not None:
            assert not isinstance(logits, list)
            chosen = self._sampler.logprobs(logits, token, self._n_logprobs)
            self._logprobs.append(TokenLogprob(token, chosen.logprob, chosen.top))
        self.token_ids.append(token)
        self._history.append(token)
        self.pending = [token]
        text = self._emit(self._stop.push(self._decoder.push(token)))
        if self._stop.found:
            self.finish_reason = "stop"
        elif self._out_of_room():
            text += self.finish("length").text
        return Piece(text, token)

    def _out_of_room(self) -> bool:
        used_up = self._max_tokens is not None and len(self.token_ids) >= self._max_tokens
        return used_up or len(self._history) > self._n_ctx

    def finish(self, reason: str) -> Piece:
        """Ends the completion; the piece holds text that had been held back."""
        rest = self._stop.push(self._decoder.flush()) + self._stop.flush()
        self.finish_reason = "stop" if self._stop.found else reason
        return Piece(self._emit(rest), None)

    def _emit(self, text: str) -> str:
        self._text.append(text)
        return text

    def completion(self) -> Completion:
        """The finished completion."""
        first = self._first_token or time.perf_counter()
        return Completion(
            text="".join(self._text),
            token_ids=self.token_ids,
            finish_reason=self.finish_reason,
            logprobs=self._logprobs if self._n_logprobs is not None else None,
            timings=Timings(
                prompt_tokens=len(self.prompt),
                cached_tokens=self.cached,
                prompt_seconds=first - self._started,
                generated_tokens=len(self.token_ids),
                generate_seconds=max(0.0, self._last_token - first),
            ),
            prompt_token_ids=self.prompt,
            seed=self._sampler.seed,
        )
