"""The Engine: a model on a device, ready to generate."""

from __future__ import annotations

import logging
import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from .backends import open_device
from .backends.base import PAGE_TOKENS
from .batch import Batch, Stream, make_step
from .chat import ChatTemplate, Message
from .completion import Completion, Perplexity, Piece
from .default_model import default_model_path
from .errors import CancelledError, ContextOverflowError, SmeltError
from .kv_cache import KVCache
from .model import Model
from .packed_file import find_packed
from .perplexity import chunk_losses, summarise, text_chunks
from .sampling import SamplingParams
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    from .backends.base import Top
    from .backends.cpu import Device as CPUDevice
    from .batch import Work
    from .graph.program import Program
    from .trace import Run
    from .trace.program import TracedProgram

    Prompt: TypeAlias = str | Sequence[int]

__all__ = ["Engine"]

logger = logging.getLogger("smelt")

CHUNK_TOKENS = 512  # tokens a step at most: enough to use a decoded weight tile well


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a child made by fork: a thread that held a lock is not there to release it."""
    for engine in _engines:
        engine.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Engine:
    """A GGUF model on a device.

    path: the model, or the first file of a split one; None takes the small storyteller that comes
        with smelt. On the CPU, what smelt.pack has left beside it is mapped.
    device: "auto", "cpu", "metal" (an Apple GPU) or "reference" (NumPy in float64: slow, the
        oracle).
    n_ctx: most tokens of one sequence, prompt and completion; None takes what the model was
        trained for. Memory is used as sequences grow.
    threads: of the CPU device; None takes one a core.
    kv_type: "f16" or "f32", the element type of the KV cache.
    chunk_tokens: most tokens evaluated in one step; results do not depend on it.

    Raises FileNotFoundError, ModelFormatError, UnsupportedModelError and DeviceError.
    Several threads may use one Engine: steps are serialised, results are not affected.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        device: str = "auto",
        n_ctx: int | None = None,
        threads: int | None = None,
        kv_type: str = "f16",
        *,
        chunk_tokens: int = CHUNK_TOKENS,
    ):
        self.model = Model(default_model_path() if path is None else path)
        self.config = self.model.config
        if n_ctx is not None and n_ctx < 1:
            raise ContextOverflowError(f"n_ctx must be at least 1, found {n_ctx}")
        if chunk_tokens < 1:
            raise ValueError(f"chunk_tokens must be at least 1, found {chunk_tokens}")
        self.n_ctx = n_ctx or self.config.n_ctx
        if self.n_ctx > self.config.n_ctx:
            logger.warning(
                "n_ctx %d is beyond the %d tokens that %s was trained for",
                self.n_ctx,
                self.config.n_ctx,
                self.model.file.path.name,
            )
        self._debug = os.environ.get("SMELT_DEBUG", "") not in ("", "0")
        self._device = open_device(device, threads)
        self.device = self._device.description
        if self.cpu_device is not None:
            self.cpu_device.packed_file = find_packed(self.model.file)
        self.chunk_tokens = min(chunk_tokens, max(self.n_ctx, PAGE_TOKENS))
        program = self.model.program(self.n_ctx, self.chunk_tokens, reuse=not self._debug)
        self._program = self._device.load(program)
        self.kv_type = kv_type
        self.cache = KVCache(self._device.create_pool(self.config, kv_type), self.n_ctx)
        self.lock = threading.RLock()
        self.cancellations = 0
        self.closed = False
        self.traced: TracedProgram | None = None  # the last trace's, for the next
        _engines.add(self)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, built at first use."""
        with self.lock:
            self.check_open()
            return Tokenizer.from_metadata(self.model.file.metadata, str(self.model.file.path))

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The model's chat template. ChatTemplateError where it has none or it is damaged."""
        with self.lock:
            self.check_open()
            return ChatTemplate(self.tokenizer, str(self.model.file.path))

    @property
    def program(self) -> Program:
        """What the device replays for every step."""
        return self._program.program

    @property
    def cpu_device(self) -> CPUDevice | None:
        """The device, where it is the CPU: its threads and instruction set."""
        return cast("CPUDevice", self._device) if self._device.name == "cpu" else None

    def close(self) -> None:
        """Frees the device's memory. The Engine cannot be used afterwards."""
        with self.lock:
            self.closed = True
            for name in ("_program", "cache", "_device", "model", "chat_template", "traced"):
                self.__dict__.pop(name, None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """Stops every running generation between two ops, from any thread."""
        self.cancellations += 1
        if not self.closed:
            self._device.cancel()

    def tokenize(
        self, text: str, add_bos: bool | None = None, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text; see Tokenizer.encode."""
        return self.tokenizer.encode(text, add_bos, parse_special)

    def detokenize(self, ids: Iterable[int]) -> str:
        """The text of token ids; see Tokenizer.decode."""
        return self.tokenizer.decode(ids)

    @overload
    def generate(
        self, prompt: Prompt, max_tokens: int | None = ..., **options: Any
    ) -> Completion: ...

    @overload
    def generate(
        self, prompt: list[str] | list[list[int]], max_tokens: int | None = ..., **options: Any
    ) -> list[Completion]: ...

    def generate(  # type: ignore[misc]  # the overloads leave the options to this signature
        self,
        prompt: Prompt | Sequence[Prompt],
        max_tokens: int | None = 256,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        penalty_window: int = 64,
        logit_bias: Mapping[int, float] | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int | None = None,
        parse_special: bool = False,
    ) -> Completion | list[Completion]:
        """Completes a prompt, or several in one batch (then a list is returned).

        prompt: a text or token ids; a list of texts, or of lists of ids, is a batch.
        max_tokens: None goes on until the model stops or the context is full.
        temperature ... seed: see smelt.sampling.SamplingParams; the default is greedy. A batch
            draws every completion with the same seed, as if each was generated alone.
        stop: texts that end the completion; they are not part of it.
        logprobs: log probabilities of the chosen and of this many most likely tokens.
        parse_special: whether spellings of control tokens in the prompt become these tokens.

        Raises ContextOverflowError for a prompt longer than n_ctx, SamplingError for parameters
        out of range or logits that are not numbers, TokenizerError, DeviceError.
        """
        params = SamplingParams(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            penalty_window=penalty_window,
            logit_bias=logit_bias,
            seed=seed,
        )
        self.check_open()
        prompts = self._prompts(prompt, parse_special)
        run = Batch(self, prompts, params, max_tokens, stop, logprobs)
        for _ in run:
            pass
        completions = [generation.completion() for generation in run.generations]
        return completions if _is_batch(prompt) else completions[0]

    def chat(
        self,
        conversation: str | Sequence[Message],
        max_tokens: int | None = None,
        *,
        template_variables: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Completion:
        """The model's answer in a conversation: a text that a user says, or a list of turns such
        as {"role": "user", "content": "Hello"}.

        The conversation is put into the model's own chat template, which may read the
        template_variables; the other options are generate()'s. For an answer piece by piece:
        stream(engine.chat_template.encode(conversation)).

        Raises ChatTemplateError, and what generate() raises.
        """
        ids = self.chat_template.encode(conversation, **(template_variables or {}))
        return self.generate(ids, max_tokens, **options)

    def stream(
        self, prompt: Prompt, max_tokens: int | None = 256, **options: Any
    ) -> Iterator[Piece]:
        """Completes one prompt piece by piece; the options are generate()'s.

        The pieces' texts together are the completion's text; none ends inside a character.
        """
        return self.start(prompt, max_tokens, **options)

    def start(self, prompt: Prompt, max_tokens: int | None = 256, **options: Any) -> Stream:
        """Like stream(), and the Stream also has the completion() so far."""
        stop = options.pop("stop", ())
        logprobs = options.pop("logprobs", None)
        parse_special = options.pop("parse_special", False)
        params = SamplingParams(**options)
        if _is_batch(prompt):
            raise TypeError("stream() takes one prompt; generate() takes several")
        self.check_open()
        prompts = self._prompts(prompt, parse_special)
        return Stream(Batch(self, prompts, params, max_tokens, stop, logprobs))

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits after every token of a sequence: float32 [n_tokens, n_vocab].

        Evaluated from an empty cache, in float32 on the CPU (float64, rounded, on "reference").
        """
        return np.concatenate(list(self.logits_in_chunks(ids))).astype(np.float32, copy=False)

    def logits_in_chunks(self, ids: Sequence[int], first: int = 0) -> Iterator[np.ndarray]:
        """The same rows, those of the tokens from index `first` on, in parts of at most
        chunk_tokens, so that a long text fills no memory; those of "reference" in float64."""
        ids = self._checked_ids(ids)
        before = self.cancellations
        with self.lock:
            self.check_open()
            sequence = self.cache.begin(ids, reuse=False)
        try:
            for at in range(0, len(ids), self.chunk_tokens):
                chunk = ids[at : at + self.chunk_tokens]
                rows = range(max(0, first - at), len(chunk))
                logits = self.step([(sequence, chunk, rows)], before)
                assert isinstance(logits, np.ndarray)  # which all of them are
                if len(rows):
                    yield logits
        finally:
            with self.lock:
                if not self.closed:
                    self.cache.end(sequence, keep=False)

    def trace(
        self,
        prompt: Prompt,
        *,
        pattern: str | Sequence[str] = "*",
        path: str | os.PathLike[str] | None = None,
        stats: bool = False,
        fused: bool | None = None,
        last_logits: bool = False,
        parse_special: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """What every op makes of a prompt, from an empty cache; see smelt.trace.

        pattern: of the names that are wanted, as in a shell ("blk.0.*"); or several.
        path: a file to stream to (.npz); without one, all is kept in memory.
        stats: only statistics, nothing is stored.
        fused: whether the program is the one that generates, in which an op may stand for several;
            None takes it for statistics, and else the plain ops, of which all can be seen.
        last_logits: only of the last token, and not of all.
        progress: called with (tokens done, tokens in all).

        Raises SmeltError if no name matches, and what generate() does for a prompt it refuses.
        """
        from .trace.record import record_run

        (ids,) = self._prompts([prompt], parse_special)
        return record_run(
            self,
            self._device,
            ids,
            pattern=pattern,
            path=path,
            stats=stats,
            fused=stats if fused is None else fused,
            last_logits=last_logits,
            progress=progress,
        )

    def perplexity(
        self, text: str, n_ctx: int = 512, progress: Callable[[int, int], None] | None = None
    ) -> Perplexity:
        """Perplexity of a text by llama.cpp's method: chunks of n_ctx tokens, each from an empty
        cache and with BOS in front where the model adds one; the second half of each is scored.

        progress is called with (chunks done, chunks in all). Raises ContextOverflowError if n_ctx
        exceeds the Engine's, SmeltError if the text has fewer than n_ctx tokens.
        """
        self.check_open()
        chunks, first = text_chunks(self, text, n_ctx)
        losses = []
        for chunk in chunks:
            losses.append(chunk_losses(self.logits_in_chunks(chunk, first), chunk, first))
            if progress:
                progress(len(losses), len(chunks))
        return summarise(np.concatenate(losses))

    def _prompts(self, prompt: Prompt | Sequence[Prompt], parse_special: bool) -> list[list[int]]:
        prompts = cast("Sequence[Prompt]", prompt if _is_batch(prompt) else [prompt])
        return [
            self._checked_ids(
                self.tokenize(one, parse_special=parse_special) if isinstance(one, str) else one
            )
            for one in prompts
        ]

    def _checked_ids(self, ids: Sequence[int]) -> list[int]:
        checked = [operator.index(token) for token in ids]
        if not checked:
            raise SmeltError("the prompt is empty: this model adds no token of its own to it")
        if len(checked) > self.n_ctx:
            raise ContextOverflowError(
                f"the prompt has {len(checked)} tokens, but n_ctx is {self.n_ctx}; "
                "shorten it or make the Engine with a larger n_ctx"
            )
        foreign = [token for token in checked if not 0 <= token < self.config.n_vocab]
        if foreign:
            raise SmeltError(
                f"token id {foreign[0]} is outside the vocabulary of {self.config.n_vocab} tokens"
            )
        return checked

    def step(self, work: Work, before: int, enough: int = 0) -> np.ndarray | list[Top]:
        """Evaluates tokens of several sequences in one step: logits [wanted rows, n_vocab].

        work: (sequence of the cache, its next tokens, indices of those whose logits are wanted);
        before: `cancellations` when the caller began: CancelledError if there was one since;
        enough: if not 0, so many of the largest logits of each row will do, and a device that
        profits from that gives these (see LoadedProgram.run_top).
        """
        with self.lock:
            self.prepare_step(before)
            for sequence, tokens, _ in work:
                self.cache.reserve(sequence, len(tokens))
            step = make_step(work)
            logits: np.ndarray | list[Top]
            if self._debug:
                from .debug import log_step  # late, as the tracer takes a fifth of the import

                logits = self._program.run(self.cache.pool, step)
                log_step(self._program, step, logits)
            elif 0 < enough <= self._device.most_top and step.logit_rows:
                logits = self._program.run_top(self.cache.pool, step, enough)
            else:
                logits = self._program.run(self.cache.pool, step)
            for sequence, tokens, _ in work:
                sequence.tokens += tokens
            return logits

    def prepare_step(self, before: int) -> None:
        """CancelledError if there was a cancellation since there were `before`; SmeltError if the
        Engine is closed. Under the lock."""
        self.check_open()
        self._device.cancel(False)
        if self.cancellations != before:
            raise CancelledError("the generation was cancelled")

    def check_open(self) -> None:
        """SmeltError if the Engine is closed."""
        if self.closed:
            raise SmeltError("the Engine is closed")


def _is_batch(prompt: object) -> bool:
    if isinstance(prompt, str):
        return False
    items = list(cast("Iterable[object]", prompt))
    return bool(items) and not isinstance(items[0], (int, np.integer))
