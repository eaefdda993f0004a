"""What each token of a value may differ by, given how far the values it was made from differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from .measure import Distance
from .tolerance import GROWTH, GROWTH_OF_ATTENTION, UNIT, float_floor, operand_error

if TYPE_CHECKING:
    from ..trace import Run, TracedValue

__all__ = ["allowed_errors"]

NORMS = frozenset({"rms_norm", "layer_norm", "norm_matmul", "norm_gate_up"})
EXPONENTIALS = frozenset({"softmax", "attention"})
SCORE = 128  # the largest scaled score: its last place is what the exponential is off by
MOST = 1e3  # an exponential beyond this says nothing any more


def allowed_errors(
    a: TracedValue,
    b: TracedValue,
    run_a: Run,
    run_b: Run,
    distance: Distance,
    inputs: Mapping[str, Distance],
    between: Sequence[TracedValue],
) -> np.ndarray:
    """For every token of `distance`. inputs: the compared values that it is made from; between:
    values that lie between these and it, and were not compared."""
    floor = float_floor(_terms(b, run_b) or _terms(a, run_a))
    if {a.op, b.op} & EXPONENTIALS:
        floor += SCORE * UNIT
    multiplied = inputs.get(b.inputs[0] if b.inputs else "", None)
    seen = multiplied is not None and not NORMS & {a.op, b.op}
    crests = multiplied.crests if multiplied is not None and seen else None
    operands = operand_error(a, b, run_a, run_b, crests)
    scale = np.maximum(distance.norms, np.median(distance.norms))
    whole = not between and all(len(d.errors) == len(distance.errors) for d in inputs.values())
    ops = {a.op, b.op}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if whole and ops == {"add"} and len(inputs) == 2:
            first, second = (d.differences + floor * d.norms for d in inputs.values())
            return np.asarray(_share(first + second, scale) + floor)
        if whole and ops == {"matmul_add"} and len(inputs) == 2:
            return _matmul_add(b if b.inputs else a, inputs, floor, operands, scale, distance)
        if whole and ops == {"softmax"} and len(inputs) == 1:
            (scores,) = inputs.values()
            apart = float(b.params.get("scale", a.params.get("scale", 1.0)))
            grown = np.expm1(2 * apart * np.concatenate(scores.peaks))
            return np.asarray(floor + np.minimum(grown, MOST))
    passed = ops | {value.op for value in between}
    # the errors of ops between are independent of each other
    squares = operands**2 + sum(operand_error(v, v, run_a, run_b) ** 2 for v in between)
    floor *= sqrt(1 + len(between))
    errors = [float(d.core_errors.max()) if passed & NORMS else d.worst for d in inputs.values()]
    shows_no_scores = "attention" in ops or (ops == {"attention_mix"} and "softmax" in passed)
    growth = GROWTH_OF_ATTENTION if shows_no_scores else GROWTH
    allowed = floor + growth * (sqrt(squares) + max(errors, default=0.0))
    if whole and ops == {"attention_scores"} and len(inputs) == 2:
        keys = (run_b if b.inputs else run_a).by_name[list(inputs)[1]]
        product = _products(inputs, sqrt(squares) + floor) / sqrt(prod(keys.shape))
        return np.asarray(np.maximum(allowed, floor + growth * _share(product, scale)))
    return np.full(len(distance.errors), allowed)


def _products(inputs: Mapping[str, Distance], rounded: float) -> np.ndarray:
    """For every token the error of its products with all keys so far, were all of them parallel.

    rounded: what the operands are off by beside their own errors, as a share of them.
    """
    queries, keys = inputs.values()
    so_far, errors = (
        np.sqrt(np.cumsum(of_key**2))
        for of_key in (keys.norms, keys.differences + rounded * keys.norms)
    )
    return np.asarray(queries.norms * errors + queries.differences * so_far)


def _matmul_add(
    value: TracedValue,
    inputs: Mapping[str, Distance],
    floor: float,
    operands: float,
    scale: np.ndarray,
    distance: Distance,
) -> np.ndarray:
    """x W^T + r: the product is no larger than the sum and r together."""
    x, residual = (inputs[name] for name in value.inputs[:2])
    product = distance.norms + residual.norms
    grown = GROWTH * (x.worst + operands) * product + residual.differences
    return np.asarray(_share(grown + floor * (product + residual.norms), scale) + floor)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(part == 0, 0.0, part / whole)


def _terms(value: TracedValue, run: Run) -> int:
    """How many products an op's sums have at most."""
    widths = [prod(run.by_name[name].shape) for name in value.inputs if name in run.by_name]
    return max(widths, default=0)
