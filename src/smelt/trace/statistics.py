"""A few numbers that say what an op made: size, range, mean, zeros, NaN and infinities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from .. import _cpu

__all__ = ["Statistics", "StatisticsTable", "statistics_of", "summary"]

# cpu_statistics of native/cpu/cpu.h
RECORD = np.dtype(
    [(name, "i8") for name in ("count", "n_zeros", "n_nan", "n_inf", "bad_row", "bad_element")]
    + [(name, "f8") for name in ("total", "squares", "min", "max")]
)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # in this machine's order of bytes
EMPTY = np.array((0, 0, 0, 0, -1, -1, 0, 0, inf, -inf), RECORD)


@dataclass(frozen=True)
class Statistics:
    """Of all elements of a value. Sums, smallest and largest are over the finite ones.

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

    def as_dict(self) -> dict[str, Any]:
        """The numbers of the definition, which JSON can hold: no element, no smallest one."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("min", "max"):
            numbers[name] = numbers[name] if isfinite(numbers[name]) else None
        return numbers

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Statistics:
        """The inverse of as_dict."""
        ends = {
            name: empty if numbers[name] is None else float(numbers[name])
            for name, empty in (("min", inf), ("max", -inf))
        }
        bad = numbers["bad"]
        return cls(**{**numbers, **ends, "bad": bad and (int(bad[0]), int(bad[1]))})


class StatisticsTable(Mapping[str, Statistics]):
    """The statistics of several values, taken together as their rows are made.

    A step of a small model takes less time than Python needs for a few numbers of each of its
    values: rows are looked at in C, all values in one call, and a Statistics is made when it is
    asked for.
    """

    def __init__(self, names: Sequence[str]):
        self._indices = {name: index for index, name in enumerate(names)}
        self._records = np.full(len(names), EMPTY)

    def add(self, blocks: Iterable[tuple[str, np.ndarray, int]]) -> None:
        """Takes in blocks of (name, rows [n, ...] of numbers, which row is the first).

        About 0.2 ns an element of float32; five times as much of float64, which others become.
        """
        table, arrays = [], []
        for name, x, first_row in blocks:
            if not x.size:
                continue
            if x.dtype not in FLOATS or not x.flags.c_contiguous:
                x = np.ascontiguousarray(x, x.dtype if x.dtype in FLOATS else np.float64)
            arrays.append(x)  # lives until it was looked at
            address, is_double = x.__array_interface__["data"][0], x.itemsize == 8
            row = (self._indices[name], address, is_double, len(x), x.size // len(x), first_row)
            table.append(row)
        rows = np.array(table, np.int64)
        _cpu.add_statistics(_widest(), rows.ctypes.data, len(rows), self._records.ctypes.data)

    def __getitem__(self, name: str) -> Statistics:
        count, n_zeros, n_nan, n_inf, *bad, total, squares, smallest, largest = self._records[
            self._indices[name]
        ].item()
        return Statistics(
            count=count,
            total=total,
            squares=squares,
            min=smallest,
            max=largest,
            n_zeros=n_zeros,
            n_nan=n_nan,
            n_inf=n_inf,
            bad=(bad[0], bad[1]) if bad[0] >= 0 else None,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def statistics_of(x: np.ndarray) -> Statistics:
    """Those of one array [n, ...]."""
    table = StatisticsTable(["x"])
    table.add([("x", x, 0)])
    return table["x"]


@cache
def _widest() -> int:
    """The index of this machine's widest instruction set."""
    return _cpu.known_instruction_sets().index(_cpu.instruction_sets()[-1])


def summary(s: Statistics) -> str:
    """One line: root mean square, range, and a count of what is not finite, if there is any."""
    bad = s.n_nan + s.n_inf
    note = f"  {bad} NaN or infinite" if bad else ""
    if not s.n_finite:
        return f"no finite number{note}"
    return f"rms {s.rms:10.4g}  min {s.min:10.4g}  max {s.max:10.4g}{note}"
