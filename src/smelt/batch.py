"""Batches: several generations driven step by step, and the stream of a single one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .backends.base import Step
from .completion import Completion, Piece
from .errors import CancelledError
from .generation import Generation
from .sampling import Sampler, SamplingParams

if TYPE_CHECKING:
    from typing import TypeAlias

    from .engine import Engine
    from .kv_cache import Sequence as CachedSequence

    # a sequence, its next tokens, and the indices of those whose logits are wanted
    Work: TypeAlias = Sequence[tuple[CachedSequence, list[int], Sequence[int]]]

__all__ = ["Batch", "Stream", "make_step"]


def make_step(work: Work) -> Step:
    """One step over tokens of several sequences, whose pages are reserved."""
    tokens: list[int] = []
    positions: list[int] = []
    sequences: list[int] = []
    pages: list[list[int]] = []
    rows: list[int] = []
    for number, (sequence, new, wanted) in enumerate(work):
        start = len(sequence.tokens)
        rows += [len(tokens) + row for row in wanted]
        tokens += new
        positions += range(start, start + len(new))
        sequences += [number] * len(new)
        pages.append(list(sequence.pages))
    return Step(tokens, positions, sequences, pages, rows)


class Batch:
    """Drives a batch of generations step by step; iterating gives (index, Piece).

    Every step takes as many pending tokens as fit: whole prompts, chunks of long ones, and the
    last token of those that already generate.
    """

    def __init__(
        self,
        engine: Engine,
        prompts: list[list[int]],
        params: SamplingParams,
        max_tokens: int | None,
        stop: str | Sequence[str],
        logprobs: int | None,
    ):
        if max_tokens is not None and max_tokens < 0:
            raise ValueError(f"max_tokens must not be negative, found {max_tokens}")
        self._engine = engine
        self._before = engine.cancellations
        stops = [stop] if isinstance(stop, str) else list(stop)
        samplers = [Sampler(params, engine.config.n_vocab) for _ in prompts]
        self._enough = samplers[0].enough if samplers and logprobs is None else 0
        tokenizer = engine.tokenizer
        with engine.lock:
            engine.check_open()
            self.generations = [
                Generation(
                    prompt,
                    engine.cache.begin(prompt),
                    sampler,
                    tokenizer,
                    max_tokens=max_tokens,
                    stop=stops,
                    logprobs=logprobs,
                    n_ctx=engine.n_ctx,
                )
                for prompt, sampler in zip(prompts, samplers, strict=True)
            ]
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, Piece]]:
        try:
            while any(g.active for g in self.generations):
                try:
                    yield from self._advance()
                except CancelledError:
                    for index, g in enumerate(self.generations):
                        if g.active:
                            yield index, g.finish("cancelled")
        finally:
            self.end()

    def _advance(self) -> Iterator[tuple[int, Piece]]:
        room = self._engine.chunk_tokens
        chosen = []
        for index, g in enumerate(self.generations):
            taken = g.pending[:room] if g.active else []
            if taken:
                chosen.append((index, g, taken, taken == g.pending))
                room -= len(taken)
        work = [
            (g.sequence, taken, [len(taken) - 1] if whole else []) for _, g, taken, whole in chosen
        ]
        logits = self._engine.step(work, self._before, self._enough)
        row = 0
        for index, g, taken, whole in chosen:
            if whole:
                yield index, g.accept(logits[row])
                row += 1
            else:
                g.pending = g.pending[len(taken) :]

    def end(self) -> None:
        """Gives the sequences back; what was evaluated stays in the cache for later prompts."""
        if self._ended:
            return
        self._ended = True
        with self._engine.lock:
            if not self._engine.closed:
                for g in self.generations:
                    self._engine.cache.end(g.sequence)


class Stream:
    """Pieces of one completion. close() ends it early; completion() is what there is so far."""

    def __init__(self, batch: Batch):
        self._batch = batch
        self._pieces = iter(batch)

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._pieces)[1]

    def close(self) -> None:
        """Ends the generation."""
        self._pieces.close()  # type: ignore[attr-defined]
        self._batch.end()

    def __del__(self) -> None:
        self._batch.end()

    def completion(self) -> Completion:
        """The completion so far; finish_reason is "" while it can go on."""
        return self._batch.generations[0].completion()
