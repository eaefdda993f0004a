"""Which side is at fault: one op run again in float64 on what each side itself gave to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SmeltError
from ..graph.ops import Op
from ..graph.placement import READS_PAGES, WRITES_PAGES
from ..graph.program import Program, build
from .bounds import allowed_errors
from .measure import Distance

if TYPE_CHECKING:
    from ..model import Model
    from ..trace import Run, TracedValue
    from .compare import Diff, Difference

__all__ = ["Verdict", "explain"]

MOST_TOKENS = 1024  # attention in NumPy is a loop over them


@dataclass(frozen=True)
class Verdict:
    """What the replay found: sentences for a person, and the side at fault: "a", "b" or ""."""

    side: str
    lines: list[str]


def explain(diff: Diff, difference: Difference) -> Verdict:
    """Judges the op of a difference. Where a side's model or inputs are not at hand, it says so."""
    name = difference.value.name
    models = [_model(run) for run in (diff.a, diff.b)]
    errors: list[tuple[float, float] | None] = [
        None if model is None else _own_error(run, model, name)
        for run, model in zip((diff.a, diff.b), models, strict=True)
    ]
    lines = []
    for side, found in zip("AB", errors, strict=True):
        if found:
            lines.append(
                f"{side}'s result is {found[0]:.2g} from what float64 makes of {side}'s own "
                f"inputs and weights (allowed {found[1]:.2g})"
            )
    at_fault = [side for side, e in zip("ab", errors, strict=True) if e and not e[0] <= e[1]]
    if len(at_fault) == 1:
        lines.append(f"so the fault is in {at_fault[0].upper()}'s {difference.value.op}")
    elif not at_fault and all(errors):
        lines.append(_what_differs(difference, models))
    return Verdict(at_fault[0] if len(at_fault) == 1 else "", lines)


def _what_differs(difference: Difference, models: list[Model | None]) -> str:
    """Both sides do what their records say: then these differ, or what they point to does."""
    if difference.notes:
        return "so each computes what its program says, and the programs differ"
    a, b = models
    if a is not None and b is not None:
        for name, _ in difference.value.weights:
            if name in a.weights and name in b.weights:
                x, y = a.weights[name].data, b.weights[name].data
                if x.shape == y.shape and (x != y).any():
                    share = np.count_nonzero(x != y) / x.size
                    return f"so the files differ: {share:.2%} of the bytes of {name} are not alike"
    return "so each does what its program says; what is written to the pages between may differ"


def _model(run: Run) -> Model | None:
    from ..model import Model

    path = Path(run.info.model)
    if run.info.device == "llama.cpp" or not path.is_file():
        return None
    try:
        return Model(path)
    except SmeltError:
        return None


def _own_error(run: Run, model: Model, name: str) -> tuple[float, float] | None:
    """A side's error of a value against float64 on its own inputs, and what is allowed; None where
    it cannot be told: an input was not traced, or the file now records another program."""
    own, n = run.by_name.get(name), run.n_tokens
    if own is None or n > MOST_TOKENS:
        return None
    program = build(model.record(n), n, n, run.info.fused)
    op = next((op for op in program.ops if any(v.name == name for v in op.outputs)), None)
    op = _as_run(own, op, program)
    if op is None:
        return None
    expected = _replay(run, model, program, op, name)
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
    excess = distance.errors / limits
    at = int(excess.argmax())
    return float(distance.errors[at]) if not distance.n_bad_differ else np.inf, float(limits[at])


def _as_run(own: TracedValue, op: Op | None, program: Program) -> Op | None:
    """The op as the run recorded it, which may be another than the file's program has now; of a
    fused op the run does not tell enough to differ."""
    if op is not None and op.parts:
        reads = tuple(value.name for value in op.inputs)
        same = (own.op, own.inputs[: len(reads)], own.params) == (op.kind, reads, op.params)
        return op if same else None
    values = {value.name: value for value in program.values}
    weights = {weight.name: weight for weight in program.weights}
    try:
        return Op(
            own.op,
            tuple(values[name] for name in own.inputs[: _operands(own.op)]),
            (values[own.name],),
            (*(weights[name] for name, _ in own.weights), None, None)[:2],
            own.params,
            own.layer,
        )
    except KeyError:
        return None


def _operands(kind: str) -> int:
    """How many values an op reads; more inputs of a run are what it finds in pages."""
    return 1 if kind in READS_PAGES else 2


def _replay(run: Run, model: Model, program: Program, op: Op, name: str) -> np.ndarray | None:
    """The op's parts on the reference device, with the run's own arrays as inputs."""
    from ..backends import reference
    from ..backends.base import PAGE_TOKENS, Step

    ids = np.array(run.info.token_ids, np.int32)
    rows = np.arange(len(ids), dtype=np.int32)
    n_pages = -(-len(ids) // PAGE_TOKENS)
    step = Step(
        ids,
        rows,
        np.zeros_like(ids),
        np.arange(n_pages, dtype=np.int32)[None],
        np.array(run.info.logit_rows, np.int32),
    )
    device = reference.Device()
    pool = device.create_pool(model.config, "f32")
    pool.grow(n_pages)
    loaded = device.load(program)
    writer = next((o for o in program.ops if o.kind in WRITES_PAGES and o.layer == op.layer), None)
    before = [writer] if writer is not None and op.kind in READS_PAGES else []
    for each in (*before, op):
        for value in each.inputs:
            if value.name not in run:
                return None
            loaded.values[value] = run[value.name].astype(np.float64)
        for part in each.parts or (each,):
            result = reference.OPS[part.kind](loaded, part, pool, step)
            if result is not None:
                loaded.values[part.outputs[0]] = result
    (value,) = (v for v in op.outputs if v.name == name)
    return loaded.read(value, len(loaded.values[value]))
