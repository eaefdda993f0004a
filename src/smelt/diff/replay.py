"""Which side is at fault: ops run again in float64 on what each side itself gave to them.

Such a replay knows nothing of the other side, and errors do not add up in it: it also finds what
the distance between two formats hides. What it cannot see is a program that is recorded wrongly,
which it does as it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..backends.base import PAGE_TOKENS, Step
from ..errors import SmeltError
from ..graph.ops import Op
from ..graph.placement import READS_PAGES, WRITES_PAGES
from ..graph.program import Program, build
from ..trace.values import cache_names
from .bounds import allowed_errors
from .measure import Distance

if TYPE_CHECKING:
    from ..backends.reference import PagePool
    from ..model import Model
    from ..trace import Run, TracedValue
    from .compare import Diff, Difference

__all__ = ["Replay", "Verdict", "check", "explain", "formats_differ"]

MOST_TOKENS = 1024  # attention in NumPy is a loop over them


@dataclass(frozen=True)
class Verdict:
    """What the replay found: sentences for a person, and the side at fault: "a", "b" or ""."""

    side: str
    lines: list[str]


class Replay:
    """The ops of a run, one by one, on the reference device.

    own_error answers None for a value that it cannot judge: where the model's file is not at hand
    or has another program now, where an input was not traced, or where what was recorded cannot be
    run at all.
    """

    def __init__(self, run: Run):
        self.run = run
        self.model = _model(run)
        if self.model is not None:
            n = run.n_tokens
            self._program = build(self.model.record(n), n, n, run.info.fused)

    def own_error(self, name: str) -> tuple[float, float] | None:
        """The error of a value against float64 on the run's own inputs, and what is allowed."""
        own, run = self.run.by_name.get(name), self.run
        if own is None or self.model is None or run.n_tokens > MOST_TOKENS or name not in run:
            return None
        try:
            return self._own_error(own, self.model)
        except (ArithmeticError, AssertionError, LookupError, StopIteration, TypeError, ValueError):
            return None  # the run says of an op what no op can do

    def _own_error(self, own: TracedValue, model: Model) -> tuple[float, float] | None:
        name, run = own.name, self.run
        op = _as_run(own, self._program)
        expected = None if op is None else self._result(model, op, name)
        if expected is None:
            return None
        distance = Distance()
        distance.add(0, run[name], expected)
        inputs = {}
        for source in own.inputs:
            x = run[source]
            inputs[source] = Distance()
            inputs[source].add(0, x, x)  # no error, but what an op's bounds are taken from
        limits = allowed_errors(own, own, run, run, distance, inputs, [])
        at = int((distance.errors / limits).argmax())
        error = np.inf if distance.n_bad_differ else float(distance.errors[at])
        return error, float(limits[at])

    def _result(self, model: Model, op: Op, name: str) -> np.ndarray | None:
        """What an op makes of the run's own arrays; where it reads pages, after what wrote them."""
        from ..backends import reference

        ids = self.run.info.token_ids
        n_pages = -(-len(ids) // PAGE_TOKENS)
        rows = self.run.info.logit_rows
        step = reference.Arrays.of(
            Step(ids, range(len(ids)), [0] * len(ids), [range(n_pages)], rows)
        )
        device = reference.Device()
        pool = device.create_pool(model.config, "f32")
        pool.grow(n_pages)
        loaded = device.load(self._program)
        writers = []
        if op.kind in READS_PAGES and not self._fill(pool, op.layer):
            writers = [_writer(self._program, op.layer)]
        with np.errstate(all="ignore"):  # a run may have anything in it
            for each in (*writers, op):
                for value in each.inputs:
                    if value.name not in self.run:
                        return None
                    loaded.values[value] = self.run[value.name].astype(np.float64)
                for part in each.parts or (each,):
                    result = reference.OPS[part.kind](loaded, part, pool, step)
                    if result is not None:
                        loaded.values[part.outputs[0]] = result
        if name in cache_names(op.layer):
            which = cache_names(op.layer).index(name)
            pages = [pool.read(op.layer, page)[which] for page in range(n_pages)]
            return np.concatenate(pages)[: len(ids)]
        (value,) = (v for v in op.outputs if v.name == name)
        return loaded.read(value, len(loaded.values[value]))

    def _fill(self, pool: PagePool, layer: int) -> bool:
        """Puts what the run found in the pages of a layer there, if it was traced."""
        names = cache_names(layer)
        if not all(name in self.run for name in names):
            return False
        for part, name in enumerate(names):
            for first in range(0, self.run.n_tokens, PAGE_TOKENS):
                rows = self.run[name][first : first + PAGE_TOKENS]
                pool.pages[layer, part, first // PAGE_TOKENS, : len(rows)] = rows
        return True


def explain(diff: Diff, difference: Difference) -> Verdict:
    """Judges the op of a difference; says nothing of a side that a Replay cannot judge."""
    replays = [Replay(run) for run in (diff.a, diff.b)]
    errors = [replay.own_error(difference.value.name) for replay in replays]
    lines = [
        f"{side} is {found[0]:.2g} from what its own inputs and weights give, allowed "
        f"{found[1]:.2g}"
        for side, found in zip("AB", errors, strict=True)
        if found
    ]
    at_fault = [side for side, e in zip("ab", errors, strict=True) if e and not e[0] <= e[1]]
    if len(at_fault) == 1:
        lines.append(f"so the fault is in {at_fault[0].upper()}'s {difference.value.op}")
        return Verdict(at_fault[0], lines)
    if not at_fault and all(errors):
        lines.append(_what_differs(difference, replays[0].model, replays[1].model))
    return Verdict("", lines)


def formats_differ(diff: Diff) -> bool:
    """Whether the two sides' weights are in different formats, so that tolerances are wide."""
    pairs = ((diff.a.by_name.get(name), value) for name, value in diff.b.by_name.items())
    return any(
        dict(a.weights).get(name, fmt) != fmt for a, b in pairs if a for name, fmt in b.weights
    )


def check(diff: Diff, progress: Callable[[int, int], None] | None = None) -> None:
    """Replays every op of both sides that is within tolerance, and marks those that are wrong by
    themselves."""
    replays = [Replay(diff.a), Replay(diff.b)]
    for at, difference in enumerate(diff.differences):
        for replay in replays:
            found = replay.own_error(difference.value.name) if difference.verdict == "ok" else None
            if found and not found[0] <= found[1]:
                difference.verdict = "wrong"
                difference.notes.append(
                    "within what the two formats may differ by, but not what its inputs give"
                )
        if progress:
            progress(at + 1, len(diff.differences))


def _what_differs(difference: Difference, a: Model | None, b: Model | None) -> str:
    """Both sides do what their records say: then these differ, or what they point to does."""
    if difference.notes:
        return "so each computes what its program says, and the programs differ"
    if a is not None and b is not None:
        for name, _ in difference.value.weights:
            if name in a.weights and name in b.weights:
                x, y = a.weights[name].data, b.weights[name].data
                if x.shape == y.shape and (x != y).any():
                    share = np.count_nonzero(x != y) / x.size
                    return f"so the files differ: {share:.2%} of the bytes of {name} are not alike"
    return "so each computes what its program says"


def _model(run: Run) -> Model | None:
    from ..model import Model

    path = Path(run.info.model)
    if run.info.device == "llama.cpp" or not path.is_file():
        return None
    try:
        return Model(path)
    except SmeltError:
        return None


def _writer(program: Program, layer: int) -> Op:
    """The op that writes the pages of a layer."""
    return next(op for op in program.ops if op.kind in WRITES_PAGES and op.layer == layer)


def _as_run(own: TracedValue, program: Program) -> Op | None:
    """The op as the run recorded it, which may be another than the file's program has now; of a
    fused op the run does not tell enough to differ."""
    if own.name in cache_names(own.layer):
        writer = _writer(program, own.layer)
        return writer if writer.kind == own.op else None
    op = next((op for op in program.ops if any(v.name == own.name for v in op.outputs)), None)
    if op is not None and op.parts:
        reads = tuple(value.name for value in op.inputs)
        same = (own.op, own.inputs[: len(reads)], own.params) == (op.kind, reads, op.params)
        return op if same else None
    values = {value.name: value for value in program.values}
    weights = {weight.name: weight for weight in program.weights}
    n_inputs = 1 if own.op in READS_PAGES else 2  # the others are what it finds in pages
    try:
        return Op(
            own.op,
            tuple(values[name] for name in own.inputs[:n_inputs]),
            (values[own.name],),
            (*(weights[name] for name, _ in own.weights), None, None)[:2],
            own.params,
            own.layer,
        )
    except KeyError:
        return None
