"""Runs the kernels of metal/ by themselves, on arrays, steps and pages of the KV cache."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from kernel_args import CONST, struct

from softmetal import msl

needs_softmetal = pytest.mark.skipif(not msl.available, reason=msl.unavailable_reason)

PAGE = CONST["PAGE_POSITIONS"]
ULP = 2.0**-24
"""The largest relative error of one float32 rounding."""


@cache
def library(file: str, checked: bool) -> msl.Library:
    return msl.Library.of_file(f"metal/{file}.metal", checked)


def run(
    file: str,
    kernel: str,
    args: np.ndarray,
    buffers: Sequence[np.ndarray | None],
    grid: tuple[int, ...],
    threads: int,
    *,
    step: Step | None = None,
    constants: Mapping[str, int] | None = None,
    pages: Pages | None = None,
    checked: bool = False,
) -> None:
    """Dispatches a kernel; buffers: those from BUFFER_OP on, None where nothing is bound."""
    bound: dict[int, Any] = {CONST["BUFFER_ARGS"]: args}
    if step is not None:
        bound[CONST["BUFFER_STEP"]], bound[CONST["BUFFER_STEP_DATA"]] = step.encoded()
    for i, buffer in enumerate(buffers):
        if buffer is not None:
            bound[CONST["BUFFER_OP"] + i] = buffer
    values = {CONST[f"CONSTANT_{name}"]: value for name, value in (constants or {}).items()}
    resident = pages.slabs if pages else None
    library(file, checked).run(kernel, bound, grid, threads, values, resident=resident)


def assert_same_bits(got: np.ndarray, wanted: np.ndarray, what: object = "") -> None:
    """Equal bits; a NaN equals a NaN, whatever its payload."""
    assert got.dtype == wanted.dtype and got.shape == wanted.shape, what
    integer = f"i{got.dtype.itemsize}"
    same = (got.view(integer) == wanted.view(integer)) | (np.isnan(got) & np.isnan(wanted))
    if not same.all():
        at = tuple(np.argwhere(~same)[0])
        pytest.fail(f"{what}: {(~same).sum()} differ; at {at} {got[at]!r}, not {wanted[at]!r}")


def assert_within(
    got: np.ndarray, wanted: np.ndarray, bound: np.ndarray | float, what: object = ""
) -> None:
    """|got - wanted| <= bound, element by element; a NaN is not."""
    excess = np.abs(got.astype(np.float64) - wanted) - bound
    if not (excess <= 0).all():
        at = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
        wide = np.broadcast_to(bound, excess.shape)[at]
        pytest.fail(
            f"{what}: {(~(excess <= 0)).sum()} of {excess.size} out of bounds; at {at} "
            f"{got[at]!r}, not {wanted[at]!r} ± {wide:.3g}"
        )


@dataclass
class Step:
    """What a step holds, as native/metal/step.m lays it out, but with the arrays in another order
    and odd places between them, so that a kernel can find them by step_args alone."""

    positions: Sequence[int] = (0,)
    token_ids: Sequence[int] = ()
    sequences: Sequence[int] | None = None
    page_table: np.ndarray | None = None
    logit_rows: Sequence[int] = ()
    singles: Sequence[int] = ()
    tiles: Sequence[tuple[int, int]] = ()
    n_splits: int = 1

    def encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """step_args and the step's data."""
        n = len(self.positions)
        table = np.zeros((1, 1)) if self.page_table is None else self.page_table
        arrays: dict[str, Any] = {
            "page_table": table,
            "tiles": self.tiles,
            "singles": self.singles,
            "logit_rows": self.logit_rows,
            "sequences": np.zeros(n) if self.sequences is None else self.sequences,
            "positions": self.positions,
            "token_ids": self.token_ids,
        }
        data: list[int] = [-1]
        places = {}
        for name, array in arrays.items():
            places[name] = len(data)
            data += [*np.asarray(array, np.int32).ravel().tolist(), -1]
        counts = {"n_tokens": n, "n_logits": len(self.logit_rows), "n_splits": self.n_splits}
        counts["max_pages"] = table.shape[1]
        return struct("step_args", **counts, **places), np.array(data, np.int32)


@dataclass
class Pages:
    """A pool of pages over several slabs, with two layers of which the second is used, as kv.h
    lays it out. What nobody wrote is NaN."""

    n_pages: int
    n_kv_heads: int
    head_dim: int
    f16: bool
    slabs: list[msl.Buffer] = field(init=False)

    def __post_init__(self) -> None:
        count = CONST["SLAB_PAGES"]
        nothing = np.full((count, 2, *self.shape), np.nan, self.dtype)
        self.slabs = [msl.Buffer(nothing) for _ in range(-(-self.n_pages // count))]

    @property
    def dtype(self) -> type[np.floating[Any]]:
        return np.float16 if self.f16 else np.float32

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a layer in a page: keys and values."""
        return (2, self.n_kv_heads, PAGE * self.head_dim)

    @property
    def layer_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def table(self) -> np.ndarray:
        """The buffer of slabs."""
        return np.array([slab.address for slab in self.slabs], np.uint64)

    @property
    def arguments(self) -> dict[str, int]:
        """The fields of attention_args that lead to the second layer."""
        return {"page_bytes": 2 * self.layer_bytes, "layer_bytes": self.layer_bytes}

    @property
    def constants(self) -> dict[str, int]:
        return {"KV_F16": int(self.f16), "HEAD_DIM": self.head_dim}

    def page(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Views of a page in the second layer: keys, values [PAGE, n_kv_heads, head_dim / 2, 2]."""
        slab = self.slabs[index // CONST["SLAB_PAGES"]]
        memory = (ctypes.c_char * slab.length).from_address(slab.address)
        raw = np.frombuffer(memory, self.dtype).reshape(-1, 2, *self.shape)
        keys, values = raw[index % CONST["SLAB_PAGES"], 1]
        keys = keys.reshape(self.n_kv_heads, self.head_dim // 2, PAGE, 2)
        values = values.reshape(self.n_kv_heads, PAGE, self.head_dim // 2, 2)
        return keys.transpose(2, 0, 1, 3), values.transpose(1, 0, 2, 3)

    def fill(self, table: np.ndarray, k: np.ndarray, v: np.ndarray) -> None:
        """Writes a sequence's k and v, [n, n_kv_heads, head_dim], to the pages of its table."""
        for part, x in enumerate((k, v)):
            for first in range(0, len(x), PAGE):
                rows = x[first : first + PAGE]
                to = self.page(int(table[first // PAGE]))[part]
                to[: len(rows)] = rows.reshape(len(rows), *to.shape[1:])

    def read(self, table: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The first n keys and values of a sequence, [n, n_kv_heads, head_dim]."""
        parts = [self.page(int(index)) for index in table[: -(-n // PAGE)]]
        k, v = (np.concatenate([part[i] for part in parts])[:n] for i in range(2))
        return tuple(x.reshape(n, self.n_kv_heads, self.head_dim) for x in (k, v))
