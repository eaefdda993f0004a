"""The stages of the sampler chain: each one function that changes logits or narrows candidates.

A maker (`top_k(40)`) takes the parameters and returns the stage. All of them give the same bits on
every platform: sums run in a fixed order, of equal logits the lower token id comes first, and the
exponential is built from operations that IEEE 754 rounds exactly, as C libraries differ in theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smelt.errors import SamplingError


class Candidates(NamedTuple):
    """The tokens that may still be drawn, in ascending order of their ids."""

    ids: NDArray[np.intp]  # [n]
    logits: NDArray[np.float64]  # [n], finite once `possible` has run

    def keep(self, chosen: NDArray[Any]) -> Candidates:
        """Those at `chosen`: ascending positions, or a mask."""
        return Candidates(self.ids[chosen], self.logits[chosen])


# A Shift changes logits in place, given the ids of the history; a Stage narrows the candidates.
Shift = Callable[[NDArray[np.float64], Sequence[int]], None]
Stage = Callable[[Candidates], Candidates]


def logit_bias(biases: Mapping[int, float]) -> Shift:
    """l[i] + bias[i], as OpenAI's API defines `logit_bias`."""
    ids = np.fromiter(biases.keys(), np.intp, len(biases))
    amounts = np.fromiter(biases.values(), np.float64, len(biases))

    def shift(logits: NDArray[np.float64], history: Sequence[int]) -> None:
        logits[ids] += amounts

    return shift


def penalties(repetition: float, presence: float, frequency: float, window: int) -> Shift:
    """Penalties on the tokens among the last `window` of the history (-1: all of it).

    repetition r: l/r where l > 0, else l·r. CTRL (Keskar et al. 2019, section 4.1) divides every
    logit; multiplying the negative ones, as everybody now does, is what makes them less likely.
    presence a, frequency b: l − a − b·count, the definition of OpenAI's API.
    """

    def shift(logits: NDArray[np.float64], history: Sequence[int]) -> None:
        recent = history[max(0, len(history) - window) :] if window >= 0 else history
        ids, counts = np.unique(np.asarray(recent, dtype=np.int64), return_counts=True)
        if ids.size and not 0 <= ids[0] <= ids[-1] < logits.size:
            wrong = ids[0] if ids[0] < 0 else ids[-1]
            raise SamplingError(
                f"the history holds token id {wrong}, outside the vocabulary of {logits.size}"
            )
        found = logits[ids]
        with np.errstate(over="ignore"):  # a bias of -1e308 may become -inf: a ban
            found = np.where(found > 0, found / repetition, found * repetition)
        logits[ids] = found - presence - frequency * counts

    return shift


def top_k(k: int) -> Stage:
    """The k largest logits (all, where there are fewer); of equal ones the lowest ids."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates.keep(largest(candidates.logits, k))

    return stage


def possible(candidates: Candidates) -> Candidates:
    """The tokens whose logit is not −inf."""
    if math.isfinite(candidates.logits.min()):
        return candidates
    return candidates.keep(candidates.logits > -math.inf)


def typical(mass: float) -> Stage:
    """Locally typical sampling (Meister et al. 2022, equation 7).

    The fewest tokens with the smallest |−log p − H| whose probabilities sum to `mass` or more, H
    being the entropy. With −log p[i] = Z − l[i] and H = Z − Σ p·l the log-partition Z cancels:
    the distance is |Σ p·l − l[i]|.
    """

    def stage(candidates: Candidates) -> Candidates:
        weights = _weights(candidates.logits)
        total = _sum(weights)
        mean = _sum(weights * candidates.logits) / total
        nearness = -np.abs(mean - candidates.logits)
        return candidates.keep(_fewest(nearness, weights, mass * total))

    return stage


def top_p(mass: float) -> Stage:
    """Nucleus sampling (Holtzman et al. 2019): the fewest most likely tokens that reach `mass`."""

    def stage(candidates: Candidates) -> Candidates:
        weights = _weights(candidates.logits)
        return candidates.keep(_fewest(candidates.logits, weights, mass * _sum(weights)))

    return stage


def min_p(fraction: float) -> Stage:
    """Min-p (Nguyen et al. 2024): p[i] ≥ fraction · max p."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates.keep(_weights(candidates.logits) >= fraction)

    return stage


def temperature(value: float) -> Stage:
    """(l − max l) / value; the maximum is taken off first so that tiny values do not overflow."""

    def stage(candidates: Candidates) -> Candidates:
        with np.errstate(over="ignore"):
            scaled = (candidates.logits - candidates.logits.max()) / value
        return possible(Candidates(candidates.ids, scaled))

    return stage


def draw(candidates: Candidates, uniform: float) -> int:
    """The token where the cumulative softmax first exceeds `uniform`, a number in [0, 1)."""
    cumulative = np.cumsum(_weights(candidates.logits))
    # "right" passes over tokens whose weight underflowed to 0.
    position = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return int(candidates.ids[position])


def largest(values: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Ascending positions of the k largest values, of equal ones the first; O(n)."""
    if k >= values.size:
        return np.arange(values.size)
    if k == 0:
        return np.arange(0)
    pool = np.flatnonzero(values >= _lower_bound(values, k))
    # The k-th value is one on every platform; which of its equals argpartition picks is not.
    border = np.partition(values[pool], pool.size - k)[pool.size - k]
    above = pool[values[pool] > border]
    equal = pool[values[pool] == border][: k - above.size]
    return np.sort(np.concatenate((above, equal)))


def _lower_bound(values: NDArray[np.float64], k: int) -> float:
    """A number that k or more of the values reach, found in one pass without copying them.

    The k-th largest of the maxima of disjoint groups: k groups hold such a value each.
    """
    rows = 64
    groups = values.size // rows
    if groups < k:
        return -math.inf
    maxima = values[: rows * groups].reshape(rows, groups).max(axis=0)
    return float(np.partition(maxima, groups - k)[groups - k])


def _fewest(
    keys: NDArray[np.float64], weights: NDArray[np.float64], mass: float
) -> NDArray[np.intp]:
    """The fewest positions, by descending key, whose weights reach `mass`; in ascending order.

    Takes a growing head of the vocabulary: a sort of it all would cost ten times the rest.
    """
    head = 512
    while True:
        chosen = largest(keys, head)
        order = chosen[np.argsort(-keys[chosen], kind="stable")]
        cumulative = np.cumsum(weights[order])
        if cumulative[-1] >= mass or head >= keys.size:
            return np.sort(order[: np.searchsorted(cumulative, mass) + 1])
        head *= 8


def _sum(values: NDArray[np.float64]) -> float:
    """From first to last, which np.sum does not promise."""
    return float(np.cumsum(values)[-1])


_EXP_BLOCK = 8192  # elements whose intermediate results stay in a core's cache


def _weights(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^(l − max l), the softmax before its division: the most likely token weighs exactly 1."""
    weights: NDArray[np.float64] = logits - logits.max()
    for start in range(0, weights.size, _EXP_BLOCK):
        block = weights[start : start + _EXP_BLOCK]
        block[:] = _exp(block)
    return weights


_EXP_LOWEST = -700.0
_EXP_TERMS = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
_LOG2_E = 1.4426950408889634
# ln 2 in two parts (FreeBSD's e_exp.c): the first is short, so that it times k below is exact.
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


def _exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^x for x ≤ 0, and 0 below −700; within 2 ulp and the same bits on every platform.

    Cody and Waite's reduction (Software Manual for the Elementary Functions, 1980), x = k·ln 2 + r
    with |r| ≤ ln 2 / 2, and a Taylor polynomial of degree 13, whose rest is below 1e-17.
    """
    x = np.maximum(x, _EXP_LOWEST)
    k = np.rint(x * _LOG2_E)
    r = x - k * _LN2_HIGH
    r -= k * _LN2_LOW
    result: NDArray[np.float64] = np.full_like(r, _EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        result *= r
        result += term
    result *= ((k.astype(np.int64) + 1023) << 52).view(np.float64)  # 2^k, written as its bits
    result[x == _EXP_LOWEST] = 0.0
    return result
