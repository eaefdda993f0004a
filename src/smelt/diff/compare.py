"""Comparing two runs op by op: what each op's result may differ by, given its inputs, and does."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SmeltError
from .bounds import allowed_errors
from .measure import Bad, Distance, aligned

if TYPE_CHECKING:
    from ..trace import Run, TracedValue

__all__ = ["Diff", "Difference", "compare"]


@dataclass
class Difference:
    """One value of both runs, and a verdict about the op that made it.

    tensor: the value's name in another engine's dump, or "".
    inputs: the worst token's error of each compared value that it was made from.
    allowed: what the value may differ by, given these; error and allowed are those of the token
        that is most out of bounds, or nearest to them.
    verdict: "ok"; "wrong": it differs by more, and nothing before it does; "follows": it comes
        after such an op, and says nothing; "missing": one side has no such op, and what is made
        from it on the other side is wrong.
    notes: what is recorded differently about the op.
    """

    value: TracedValue
    distance: Distance
    inputs: dict[str, float]
    error: float
    allowed: float
    token: int
    verdict: str = "ok"
    tensor: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Diff:
    """The comparison of run a with run b, which it is measured against."""

    a: Run
    b: Run
    differences: list[Difference]
    scale: float

    @property
    def wrong(self) -> list[Difference]:
        """The ops out of tolerance whose inputs are not, in program order."""
        return [d for d in self.differences if d.verdict in ("wrong", "missing")]

    @property
    def first(self) -> Difference | None:
        """The first op where the runs part, or None."""
        return self.wrong[0] if self.wrong else None

    @property
    def bad(self) -> list[tuple[Difference, Bad]]:
        """What is not finite: for each side the first value that has such a number."""
        found: dict[str, tuple[Difference, Bad]] = {}
        for difference in self.differences:
            for bad in difference.distance.bad:
                found.setdefault(bad.side, (difference, bad))
        return list(found.values())


def compare(
    a: Run, b: Run, scale: float = 1.0, progress: Callable[[int, int], None] | None = None
) -> Diff:
    """Compares all values that both runs have, in program order.

    scale: what tolerances are multiplied with. Raises SmeltError if the runs are of different
    prompts, have no value in common, or one of different shapes.
    """
    _check_prompts(a, b)
    # of a fused and an unfused one, the fused one's ops are those that can be named
    graph = min((run for run in (b, a) if run.values), key=lambda run: len(run.values), default=b)
    common = [value for value in graph.values if a.sources(value.name) and b.sources(value.name)]
    if not common:
        raise SmeltError("the two runs have no value in common; trace both with the same --pattern")
    diff = Diff(a, b, [], scale)
    done: dict[str, Distance] = {}
    tainted: set[str] = set()
    for at, value in enumerate(common):
        with np.errstate(over="ignore", invalid="ignore"):  # a run may have anything in it
            found = _compare_value(diff, value, done, tainted)
        for difference in found:
            if difference.verdict != "ok":
                tainted.add(value.name)
        diff.differences += found
        done[value.name] = max((d.distance for d in found if d.distance.n), key=lambda d: d.worst)
        if progress:
            progress(at + 1, len(common))
    return diff


def _check_prompts(a: Run, b: Run) -> None:
    ids_a, ids_b = a.info.token_ids, b.info.token_ids
    if ids_a and ids_b and ids_a != ids_b:
        raise SmeltError(
            f"the runs are of different prompts: {len(ids_a)} tokens {ids_a[:6]}... and "
            f"{len(ids_b)} tokens {ids_b[:6]}..."
        )


def _compare_value(
    diff: Diff, value: TracedValue, done: dict[str, Distance], tainted: set[str]
) -> list[Difference]:
    """A Difference for each tensor that either side has of a value: one, but for dumps."""
    a, b = diff.a, diff.b
    (from_a, through_a), (from_b, through_b) = (reach(run, value.name, done) for run in (a, b))
    compared = {name: done[name] for name in (*from_a, *from_b)}
    between = list({v.name: v for v in (*through_a, *through_b)}.values())
    inputs = {name: distance.worst for name, distance in compared.items()}
    own_a, own_b = (run.by_name.get(value.name, value) for run in (a, b))
    result = []
    for key_a in a.sources(value.name):
        for key_b in b.sources(value.name):
            distance = _distance(a, b, value, key_a, key_b)
            limits = diff.scale * allowed_errors(own_a, own_b, a, b, distance, compared, between)
            excess = distance.errors / limits
            over = not (excess <= 1).all() or distance.n_bad_differ > 0  # NaN is over, too
            tensor = "" if a.values and b.values else key_b if a.values else key_a
            most = int(excess.argmax())
            difference = Difference(
                value,
                distance,
                inputs,
                error=float(distance.errors[most]),
                allowed=float(limits[most]),
                token=int(np.concatenate(distance.tokens)[most]),
                tensor=tensor,
            )
            if any(name in tainted for name in inputs):
                difference.verdict = "follows"
            elif over:
                difference.verdict = "wrong"
                difference.notes = record_notes(own_a, own_b, diff)
                missing = _missing(diff, own_a, own_b)
                if missing:
                    missing.verdict = "missing"
                    result.append(missing)
                    difference.verdict = "follows"
            result.append(difference)
    return result


def _distance(a: Run, b: Run, value: TracedValue, key_a: str, key_b: str) -> Distance:
    distance = Distance()
    for first, x, y in aligned(_by_token(a, value, key_a), _by_token(b, value, key_b)):
        if x.shape[1:] != y.shape[1:]:
            raise SmeltError(
                f"value {value.name}: rows of {x.shape[1:]} and of {y.shape[1:]}: models of "
                "different dimensions cannot be compared"
            )
        distance.add(first, x, y)
    if not distance.n:
        raise SmeltError(f"value {value.name}: the runs have no token in common")
    return distance


def _by_token(run: Run, value: TracedValue, key: str) -> Iterator[tuple[int, np.ndarray]]:
    rows = run.info.logit_rows
    offset = rows[0] if value.rows == "logits" and rows else 0
    for first, block in run.blocks(key):
        yield first + offset, block


def reach(run: Run, name: str, done: Container[str]) -> tuple[list[str], list[TracedValue]]:
    """The nearest compared values that a value is made from, and the values between these (or the
    program's beginning) and it, which were not compared."""
    found: dict[str, None] = {}
    between: dict[str, TracedValue] = {}
    value = run.by_name.get(name)
    waiting = list(value.inputs) if value else []
    while waiting:
        source = waiting.pop(0)
        if source in done:
            found[source] = None
        elif source in run.by_name and source not in between:
            between[source] = run.by_name[source]
            waiting += run.by_name[source].inputs
    return list(found), list(between.values())


def record_notes(a: TracedValue, b: TracedValue, diff: Diff) -> list[str]:
    """What the two runs' programs say differently about an op, if they are meant to be alike."""
    if diff.a.info.fused != diff.b.info.fused or not (diff.a.values and diff.b.values):
        return []
    notes = []
    if a.op != b.op:
        notes.append(f"it is {a.op} in A and {b.op} in B")
    for name in sorted(a.params.keys() | b.params.keys()):
        if a.params.get(name) != b.params.get(name):
            notes.append(f"{name} is {a.params.get(name)} in A and {b.params.get(name)} in B")
    if a.inputs != b.inputs:
        notes.append(f"it reads {', '.join(a.inputs)} in A and {', '.join(b.inputs)} in B")
    if a.weights != b.weights:
        shown = (", ".join(f"{n} {f}" for n, f in side.weights) for side in (a, b))
        notes.append("its weights are {} in A and {} in B".format(*shown))
    return notes


def _missing(diff: Diff, a: TracedValue, b: TracedValue) -> Difference | None:
    """The input of an op that one of the two programs does not have, where they should be alike."""
    if diff.a.info.fused != diff.b.info.fused or not (diff.a.values and diff.b.values):
        return None
    for side, run, other, value in (("B", diff.b, diff.a, b), ("A", diff.a, diff.b, a)):
        for name in value.inputs:
            if name in run.by_name and name not in other.by_name:
                lost = run.by_name[name]
                note = f"only {side} has it; {value.name}, which is made from it, differs"
                return Difference(lost, Distance(), {}, np.inf, 0.0, 0, notes=[note])
    return None
