"""Rounds of prefill and decode, with samples of the machine's limits between them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends.base import PAGE_TOKENS
from ..errors import ContextOverflowError
from ..limits import Limits, Probe, best
from .costs import Costs, Work

if TYPE_CHECKING:
    from typing import TypeAlias

    from ..engine import Engine
    from ..kv_cache import Sequence as CachedSequence

    # what Engine.step takes
    NewTokens: TypeAlias = list[tuple[CachedSequence, list[int], Sequence[int]]]

__all__ = ["Benchmark", "Case", "CaseResult", "Rate", "Session"]

DECODED = 16  # tokens of each sequence that a round generates


@dataclass(frozen=True)
class Case:
    """`batch` sequences with prompts of `prompt` tokens each."""

    prompt: int
    batch: int = 1


@dataclass(frozen=True)
class Rate:
    """Tokens a second, all sequences together.

    median, low, high: of n samples, and its quartiles. limit: what the machine could do, by memory
    or arithmetic as `bound` says; fraction: the median over it. None where limits are not known.
    """

    median: float
    low: float
    high: float
    n: int
    limit: float | None
    bound: str | None

    @property
    def fraction(self) -> float | None:
        return self.median / self.limit if self.limit else None


@dataclass(frozen=True)
class CaseResult:
    """A case's prefill (the whole of all prompts, one sample a round) and decode (a step each)."""

    prompt: int
    batch: int
    prefill: Rate
    decode: Rate


@dataclass(frozen=True)
class Benchmark:
    """What a Session has found.

    ops, barriers: of one step. weight_bytes: read by every step; kv_bytes: of one token in the KV
    cache; operations: of one decoded token, without attention. limits: the best samples of this
    machine, None for other devices than the CPU; steadiness: the middle samples over the best ones,
    of the limit where that is least: 1 on a machine without other work.
    """

    model: str
    device: str
    n_rounds: int
    seconds: float
    ops: int
    barriers: int
    weight_bytes: int
    kv_bytes: int
    operations: int
    limits: Limits | None
    steadiness: float | None
    cases: list[CaseResult]


class Session:
    """Measures an Engine, round by round: each takes all cases in turn, so that whatever else the
    machine does hits all of them.

    Steps are timed without sampling, on random tokens. Raises ContextOverflowError for a case that
    does not fit the Engine's n_ctx.
    """

    def __init__(self, engine: Engine, cases: Iterable[Case], decoded: int = DECODED):
        self.cases = list(dict.fromkeys(cases))
        self.rounds = 0
        self.seconds = 0.0
        self._engine = engine
        self._decoded = decoded
        longest = max(case.prompt for case in self.cases) + decoded
        if longest > engine.n_ctx:
            raise ContextOverflowError(
                f"{longest - decoded} tokens and {decoded} generated ones exceed n_ctx "
                f"{engine.n_ctx}; measure shorter prompts or make n_ctx larger"
            )
        self._random = random.Random(0)
        self._prefill: dict[Case, list[float]] = {case: [] for case in self.cases}
        self._decode: dict[Case, list[float]] = {case: [] for case in self.cases}
        self._probe = Probe(engine.cpu_device) if engine.cpu_device else None
        self._limits: list[Limits] = []
        self._measure(Case(min(8, engine.n_ctx - 2)), 2)  # wakes threads, touches memory

    def round(self) -> None:
        """Measures every case once."""
        for _ in self.case_by_case():
            pass

    def case_by_case(self) -> Iterator[Case]:
        """The same, giving each case that is done. A round that is not ended counts for nothing."""
        begin = time.perf_counter()
        found = []
        for case in self.cases:
            found.append(self._measure(case, self._decoded))
            if self._probe:
                self._limits.append(self._probe.sample())
            yield case
        for case, (prefill, decode) in zip(self.cases, found, strict=True):
            self._prefill[case].append(prefill)
            self._decode[case] += decode
        self.rounds += 1
        self.seconds += time.perf_counter() - begin

    def _measure(self, case: Case, decoded: int) -> tuple[float, list[float]]:
        """Seconds of the prefill, and of each step after it."""
        engine = self._engine
        with engine.lock:
            sequences = [engine.cache.begin([0], reuse=False) for _ in range(case.batch)]
            try:
                steps = list(self._prompt_steps(sequences, case.prompt))
                seconds = [self._timed(work) for work in steps]
                decode = [
                    self._timed([(sequence, self._tokens(1), [0]) for sequence in sequences])
                    for _ in range(decoded)
                ]
            finally:
                for sequence in sequences:
                    engine.cache.end(sequence, keep=False)
        return sum(seconds), decode

    def _prompt_steps(self, sequences: Sequence[CachedSequence], n: int) -> Iterator[NewTokens]:
        """As many tokens of as many prompts a step as the Engine takes at once."""
        room = self._engine.chunk_tokens
        work: NewTokens = []
        for sequence in sequences:
            left = n
            while left:
                taken = min(left, room)
                left -= taken
                room -= taken
                work.append((sequence, self._tokens(taken), [] if left else [taken - 1]))
                if not room:
                    yield work
                    work, room = [], self._engine.chunk_tokens
        if work:
            yield work

    def _timed(self, work: NewTokens) -> float:
        begin = time.perf_counter()
        self._engine.step(work, self._engine.cancellations, enough=1)
        return time.perf_counter() - begin

    def _tokens(self, n: int) -> list[int]:
        return self._random.choices(range(self._engine.config.n_vocab), k=n)

    def result(self) -> Benchmark:
        """What the rounds so far have found; there must be one."""
        engine = self._engine
        program = engine.program
        kv_bytes = engine.cache.pool.page_bytes / PAGE_TOKENS
        costs = Costs(program, kv_bytes)
        limits = best(self._limits) if self._limits else None
        cases = []
        for case in self.cases:
            prefill = costs.prefill(case.prompt, case.batch, engine.chunk_tokens)
            decode = costs.decode(case.prompt + self._decoded / 2, case.batch)
            tokens = case.prompt * case.batch
            cases.append(
                CaseResult(
                    case.prompt,
                    case.batch,
                    _rate(tokens, self._prefill[case], prefill, limits),
                    _rate(case.batch, self._decode[case], decode, limits),
                )
            )
        one = costs.token + costs.logits
        return Benchmark(
            model=str(engine.model.file.path),
            device=engine.device,
            n_rounds=self.rounds,
            seconds=self.seconds,
            ops=len(program.ops),
            barriers=sum(program.waits),
            weight_bytes=int(costs.step.bytes),
            kv_bytes=int(kv_bytes),
            operations=int(one.integer + one.floating),
            limits=limits,
            steadiness=_steadiness(self._limits, limits) if limits else None,
            cases=cases,
        )


def _steadiness(samples: list[Limits], limits: Limits) -> float:
    return min(
        statistics.median(s.read for s in samples) / limits.read,
        statistics.median(s.fma for s in samples) / limits.fma,
        statistics.median(s.dot for s in samples) / limits.dot,
    )


def _rate(tokens: int, seconds: list[float], work: Work, limits: Limits | None) -> Rate:
    rates = [tokens / each for each in seconds]
    low, median, high = (
        statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
    )
    if limits is None:
        return Rate(median, low, high, len(rates), None, None)
    least, bound = work.seconds(limits)
    return Rate(median, low, high, len(rates), tokens / least, bound)
