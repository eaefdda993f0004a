"""A few numbers that say what an op made: size, range, mean, zeros, NaN and infinities."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

__all__ = ["Statistics", "summary"]

# A float32 sum of squares inside these bounds lost nothing to underflow or overflow, and saw
# neither a NaN nor an infinity, each of which would have come through.
SMALLEST, LARGEST = 1e-24, 1e38


@dataclass
class Statistics:
    """Of all elements seen so far; `add` takes in more. Sums are over the finite ones.

    bad: where the first NaN or infinity is, (row, element of the row), or None.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    min: float = inf
    max: float = -inf
    n_zeros: int = 0
    n_nan: int = 0
    n_inf: int = 0
    bad: tuple[int, int] | None = None

    @property
    def n_finite(self) -> int:
        return self.count - self.n_nan - self.n_inf

    @property
    def mean(self) -> float:
        return self.total / self.n_finite if self.n_finite else float("nan")

    @property
    def rms(self) -> float:
        """Root mean square."""
        return sqrt(self.squares / self.n_finite) if self.n_finite else float("nan")

    @property
    def zeros(self) -> float:
        """The share of elements that are exactly zero."""
        return self.n_zeros / self.count if self.count else 0.0

    def add(self, x: np.ndarray, first_row: int = 0) -> None:
        """Takes in rows [n, ...], the first of which is row `first_row` of the whole.

        About one nanosecond an element: five passes of NumPy in float32 over what the cache still
        holds. What is not finite is only looked for where the sum of squares says that there is
        some.
        """
        flat = x.reshape(-1)
        if not flat.size:
            return
        with np.errstate(all="ignore"):
            squares = float(np.dot(flat, flat))
        self.count += flat.size
        self.n_zeros += flat.size - int(np.count_nonzero(flat))
        if not SMALLEST < squares < LARGEST:
            finite = np.isfinite(flat)
            if not finite.all():
                self._add_bad(flat, finite, first_row, flat.size // len(x))
            flat = flat[finite].astype(np.float64)
            if not flat.size:
                return
            squares = float(np.dot(flat, flat))
        self.squares += squares
        self.total += float(flat.sum())
        self.min = min(self.min, float(flat.min()))
        self.max = max(self.max, float(flat.max()))

    def _add_bad(self, flat: np.ndarray, finite: np.ndarray, first_row: int, width: int) -> None:
        n_nan = int(np.count_nonzero(np.isnan(flat)))
        self.n_nan += n_nan
        self.n_inf += flat.size - int(np.count_nonzero(finite)) - n_nan
        if self.bad is None:
            row, element = divmod(int(np.argmin(finite)), width)
            self.bad = (first_row + row, element)

    def as_dict(self) -> dict[str, Any]:
        """The numbers of the definition, which JSON can hold: no element, no smallest one."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("min", "max"):
            numbers[name] = numbers[name] if isfinite(numbers[name]) else None
        return numbers

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Statistics:
        """The inverse of as_dict."""
        made = cls(**numbers)
        made.min = inf if made.min is None else made.min
        made.max = -inf if made.max is None else made.max
        made.bad = None if made.bad is None else (int(made.bad[0]), int(made.bad[1]))
        return made


def summary(s: Statistics) -> str:
    """One line: root mean square, range, and a count of what is not finite, if there is any."""
    bad = s.n_nan + s.n_inf
    note = f"  {bad} NaN or infinite" if bad else ""
    if not s.n_finite:
        return f"no finite number{note}"
    return f"rms {s.rms:10.4g}  min {s.min:10.4g}  max {s.max:10.4g}{note}"
