"""How far two right runs may lie apart at an op, from what is known of formats and devices.

An error here is that of the worst token: the norm of a row's difference over the row's own norm, or
over the median row's where that is larger. An op may add

    floor + GROWTH * (error of its inputs + what its operands are rounded to)

`floor` is float32's: 2^-24 * (16 + 4 sqrt(n)) for sums of n terms, four times what rounding errors
of random sign add up to. What an op's operands are rounded to, relative to their norm:

- activations before a dot product with quantised weights: q of at most L levels a side in blocks of
  B, with the block's largest element as the scale: crest / (L sqrt(12)), since a rounding error is
  uniform. The crest, a block's largest element over the rms, is taken from the activations where
  they are seen, and is at most sqrt(B). smelt's CPU: L = 2047; llama.cpp: 127, and half precision
  for F16, bfloat16 for BF16 weights. Metal and the reference round nothing.
- keys and values in an f16 cache: half a unit in the last place, 2^-11.
- weights, where the two sides have them in different formats: b bits over the range of a sub-block
  of 32, whose largest element is sqrt(2 ln 32) sigma for Gaussian weights, give a step of
  2 sqrt(2 ln 32) sigma / (2^b - 1), and an error of step / sqrt(12).

GROWTH is how much an op may amplify an error that it is given, relative to its result: linear maps
of trained models and activation functions do so by 0.9 to 1.8 for every pair of formats and devices
that was measured (docs/debugging.md). Ops that can amplify without bound are held by their operands
instead (bounds.py): add by the errors of its two terms, softmax by the largest difference of a
score, and norms relative to what is left of a row without its few largest elements. Scores of
queries and keys that are nearly at right angles are small beside their errors, and are held by
|q| |dk| + |dq| |k| over the root of the number of products, which is what errors of random
directions add up to: 0.4 to 2.6 times that was measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import log, sqrt
from typing import TYPE_CHECKING

from ..formats import FORMATS
from ..graph.placement import READS_PAGES
from ..graph.program import MULTIPLIES
from ..trace.values import cache_names

if TYPE_CHECKING:
    from ..trace import Run, TracedValue

__all__ = ["GROWTH", "GROWTH_OF_ATTENTION", "float_floor", "operand_error"]

GROWTH = 4.0
# A fused attention does not show its scores, so their largest difference is not known: e^2d - 1
# for scores that differ by d, which are sums of head_dim products; 10 was measured.
GROWTH_OF_ATTENTION = 24.0

UNIT = 2.0**-24
HALF = 2.0**-11
ROUNDED_TO = {"f16": HALF, "bf16": 2.0**-8}  # activations in llama.cpp, for weights of that format
LEVELS = {"cpu": 2047, "llama.cpp": 127}


def float_floor(n: int) -> float:
    """What float32 arithmetic over n terms a result may differ by."""
    return UNIT * (16 + 4 * sqrt(n))


def operand_error(
    a: TracedValue,
    b: TracedValue,
    run_a: Run,
    run_b: Run,
    crests: Mapping[int, float] | None = None,
) -> float:
    """What both sides together round an op's operands by, as a share of their norm.

    crests: of the activations that it multiplies, by block size, where they are known.
    """
    rounded = _activations(a, run_a, crests or {}) + _activations(b, run_b, crests or {})
    return rounded + _weights(a, b) + _pages(a, run_a, run_b)


def _kind(run: Run) -> str:
    """ "cpu", "metal", "reference" or "llama.cpp": the first word of the device's description."""
    return run.info.device.partition(",")[0]


def _activations(value: TracedValue, run: Run, crests: Mapping[int, float]) -> float:
    if value.op not in MULTIPLIES:
        return 0.0
    device = _kind(run)
    errors = [0.0]
    for _, fmt in value.weights:
        if fmt in ROUNDED_TO and device == "llama.cpp":
            errors.append(ROUNDED_TO[fmt])
        elif fmt in FORMATS and _bits(fmt) <= 8 and device in LEVELS:
            size = FORMATS[fmt].block_weights
            errors.append(crests.get(size, sqrt(size)) / sqrt(12) / LEVELS[device])
    return max(errors)


def _pages(value: TracedValue, a: Run, b: Run) -> float:
    """What keys and values are rounded by: seen in the pages, or else where they are read."""
    if not any(run.info.kv_type == "f16" and _kind(run) != "reference" for run in (a, b)):
        return 0.0
    is_page = value.name in cache_names(value.layer)
    reads = value.op in READS_PAGES and not set(value.inputs) & set(cache_names(value.layer))
    return HALF if is_page or reads else 0.0


def _weights(a: TracedValue, b: TracedValue) -> float:
    """Zero where both sides have the same formats: then they are meant to be the same weights."""
    formats_a, formats_b = dict(a.weights), dict(b.weights)
    errors = [0.0]
    for name in formats_a.keys() & formats_b.keys():
        if formats_a[name] != formats_b[name]:
            errors.append(_format_error(formats_a[name]) + _format_error(formats_b[name]))
    return max(errors)


def _format_error(fmt: str) -> float:
    if fmt in ("f32", "f64"):
        return 0.0
    return ROUNDED_TO.get(fmt) or sqrt(2 * log(32) / 3) / (2 ** _bits(fmt) - 1)


def _bits(fmt: str) -> int:
    """Of a weight's code, which a format's name begins with: q4_k, iq4_nl, q8_0."""
    return int(re.findall(r"\d+", fmt)[0])
