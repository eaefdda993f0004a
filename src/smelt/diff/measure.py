"""The distance of two arrays of a value, taken in block by block, with places and what is not
finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np

__all__ = ["Bad", "Distance", "aligned", "row_errors"]

BLOCKS = (32, 256)  # in which activations are quantised
Blocks = Iterator[tuple[int, np.ndarray]]


@dataclass(frozen=True)
class Bad:
    """The first NaN or infinity of a side: "a" or "b", the token, the element of its row."""

    side: str
    token: int
    element: tuple[int, ...]
    value: float


@dataclass
class Distance:
    """Of a from b, over the elements that are finite in both.

    relative: ‖a - b‖ / ‖b‖; worst: the largest error of a token (see tolerance.py), which is token
    `worst_token`; largest: the largest |a - b|, of `token` and `element`, where a has `value_a`.
    crests: of blocks of 32 and of 256 of b's elements, the root mean square of their largest ones
        over that of all, in the token where it is largest.
    bad: the first non-finite number of each side; n_bad_differ: elements that are finite on one
    side alone, or differently not finite.
    """

    n: int = 0
    largest: float = 0.0
    token: int = 0
    element: tuple[int, ...] = ()
    value_a: float = nan
    value_b: float = nan
    bad: list[Bad] = field(default_factory=list)
    n_bad_differ: int = 0
    tokens: list[np.ndarray] = field(default_factory=list, repr=False)
    error2: list[np.ndarray] = field(default_factory=list, repr=False)
    norm2_a: list[np.ndarray] = field(default_factory=list, repr=False)
    norm2_b: list[np.ndarray] = field(default_factory=list, repr=False)
    core2: list[np.ndarray] = field(default_factory=list, repr=False)
    peaks: list[np.ndarray] = field(default_factory=list, repr=False)
    dot: float = 0.0
    crests: dict[int, float] = field(default_factory=dict)

    def add(self, first: int, a: np.ndarray, b: np.ndarray) -> None:
        """Takes in the rows of tokens `first` and on, [n, *shape] of both sides."""
        shape = a.shape[1:]
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            self._add_bad(first, a, b, shape)
            a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        difference = np.abs(a - b)
        row, column = divmod(int(difference.argmax()), difference.shape[1])
        if difference[row, column] > self.largest or not self.n:
            self.largest = float(difference[row, column])
            self.token, self.element = first + row, _place(column, shape)
            self.value_a, self.value_b = float(a[row, column]), float(b[row, column])
        self.n += a.size
        self.tokens.append(np.arange(first, first + len(a)))
        for sums, x, y in (
            (self.error2, difference, difference),
            (self.norm2_a, a, a),
            (self.norm2_b, b, b),
        ):
            sums.append(np.einsum("ij,ij->i", x, y))
        self.dot += float(np.einsum("ij,ij->", a, b))
        self.peaks.append(difference.max(axis=1))
        for size in BLOCKS:
            self.crests[size] = max(self.crests.get(size, 0.0), _crest(b, size))
        self.core2.append(_core(b) if len(shape) == 1 else self.norm2_b[-1])

    def _add_bad(self, first: int, a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> None:
        for side, x in (("a", a), ("b", b)):
            found = np.argwhere(~np.isfinite(x))
            if len(found) and all(bad.side != side for bad in self.bad):
                row, column = (int(at) for at in found[0])
                place = _place(column, shape)
                self.bad.append(Bad(side, first + row, place, float(x[row, column])))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self.n_bad_differ += int(np.count_nonzero(~(np.isfinite(a) & np.isfinite(b)) & ~same))

    @property
    def relative(self) -> float:
        return _ratio(_sum(self.error2) ** 0.5, _sum(self.norm2_b) ** 0.5)

    @property
    def cosine(self) -> float:
        """Of the angle between a and b; 1 where both are zero."""
        norms = (_sum(self.norm2_a) * _sum(self.norm2_b)) ** 0.5
        return self.dot / norms if norms else float(_sum(self.error2) == 0)

    @property
    def errors(self) -> np.ndarray:
        """Of every token."""
        return row_errors(self.differences, self.norms)

    @property
    def norms(self) -> np.ndarray:
        """Of b's row of every token."""
        return np.concatenate(self.norm2_b) ** 0.5

    @property
    def differences(self) -> np.ndarray:
        """The norm of a - b of every token."""
        return np.concatenate(self.error2) ** 0.5

    @property
    def core_errors(self) -> np.ndarray:
        """Errors of every token relative to what its row is without its largest elements."""
        return row_errors(self.differences, np.concatenate(self.core2) ** 0.5)

    @property
    def worst(self) -> float:
        return float(self.errors.max())

    @property
    def worst_token(self) -> int:
        return int(np.concatenate(self.tokens)[self.errors.argmax()])


def _crest(rows: np.ndarray, size: int) -> float:
    """See Distance.crests; a last block that is not full counts as one."""
    squares = np.pad(rows * rows, ((0, 0), (0, -rows.shape[1] % size)))
    largest = squares.reshape(len(rows), -1, size).max(axis=2).sum(axis=1) * size
    total = squares.sum(axis=1)
    return float(np.sqrt(np.max(largest[total > 0] / total[total > 0], initial=0.0)))


def _core(rows: np.ndarray) -> np.ndarray:
    """Squared norms without the largest hundredth of the elements, at least one. The residual
    stream of a trained model has a few that are a thousand times the others (Sun et al. 2024,
    arXiv:2402.17762); a norm's gain takes them away, and what is left shows the others' errors."""
    n_large = max(1, rows.shape[1] // 100)
    squares = rows * rows
    kept = np.partition(squares, -n_large, axis=1)[:, :-n_large] if rows.shape[1] > 1 else squares
    return np.asarray(kept.sum(axis=1))


def _place(column: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(at) for at in np.unravel_index(column, shape))


def _sum(parts: list[np.ndarray]) -> float:
    return float(sum(part.sum() for part in parts))


def _ratio(a: float, b: float) -> float:
    return a / b if b else (inf if a else 0.0)


def row_errors(differences: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Norms of differences over those of the rows, or of the median row where that is larger."""
    scale = np.maximum(norms, np.median(norms))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors: np.ndarray = np.where(differences == 0, 0.0, differences / scale)
    return errors


def aligned(a: Blocks, b: Blocks) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The rows that both have, however each is cut: (first row, a's rows, b's rows)."""
    none = np.empty((0,))
    first_a, rows_a = next(a, (0, none))
    first_b, rows_b = next(b, (0, none))
    while len(rows_a) and len(rows_b):
        first = max(first_a, first_b)
        end = min(first_a + len(rows_a), first_b + len(rows_b))
        if first < end:
            yield (
                first,
                rows_a[first - first_a : end - first_a],
                rows_b[first - first_b : end - first_b],
            )
        if first_a + len(rows_a) <= end:
            first_a, rows_a = next(a, (0, none))
        elif first_b + len(rows_b) <= end:
            first_b, rows_b = next(b, (0, none))
