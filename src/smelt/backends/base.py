"""The surface that every device has: what the Engine may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import numpy as np

    from ..config import Config
    from ..graph.ops import Value
    from ..graph.program import Program

    Integers: TypeAlias = Sequence[int] | np.ndarray
    # the largest logits of a row, as (id, logit): the largest first and of equal ones the lowest
    # id; a NaN or +inf, if the row has one, and then the first, in front of all
    Top: TypeAlias = list[tuple[int, float]]

__all__ = ["PAGE_TOKENS", "Device", "LoadedProgram", "PagePool", "Step"]

PAGE_TOKENS = 32
"""Positions a page of the KV cache holds, on every device."""


@dataclass(frozen=True)
class Step:
    """What changes from step to step: lists of integers, or arrays.

    token_ids, positions, sequences: [n_tokens]; a token's sequence is a row of
    page_table: of each sequence, page numbers of the pool, as many as its positions need;
    logit_rows: [n_logits], the tokens of this step whose logits are wanted.
    """

    token_ids: Integers
    positions: Integers
    sequences: Integers
    page_table: Sequence[Integers] | np.ndarray
    logit_rows: Integers


class PagePool(Protocol):
    """Memory of the KV cache on a device."""

    page_bytes: int
    readable: bool
    """Whether read() can be asked for what is in a page."""

    def grow(self, n_pages: int) -> None:
        """Makes room for at least n_pages pages. DeviceError if there is no memory; then nothing
        has changed."""

    def read(
        self, layer: int, page: int, first: int = 0, end: int = PAGE_TOKENS
    ) -> tuple[np.ndarray, np.ndarray]:
        """A layer's keys and values at some places of a page after a step,
        [end - first, n_kv_heads, head_dim] each, for tracing."""


class LoadedProgram(Protocol):
    """A Program on a device."""

    program: Program

    def run(self, pool: PagePool, step: Step) -> np.ndarray:
        """Runs a step; logits [n_logits, n_vocab] (float32; float64 on the reference device).
        Raises DeviceError, or CancelledError after cancel()."""

    def run_top(self, pool: PagePool, step: Step, k: int) -> list[Top]:
        """Runs a step and gives the k largest logits of each wanted row. Only where k is at most
        the device's most_top."""

    def read(self, value: Value, n_rows: int) -> np.ndarray:
        """A value's first n_rows rows after a step, [n_rows, *value.shape], which the next step may
        overwrite; the program must have been built with reuse=False or to keep the value."""


class Device(Protocol):
    """A place where Programs run."""

    name: str
    description: str
    most_top: int
    """The most logits a row that run_top gives; 0 where reading all of them costs no more."""

    def load(self, program: Program) -> LoadedProgram:
        """Prepares a Program; its weights stay where the file is mapped if the device can."""

    def create_pool(self, config: Config, kv_type: str) -> PagePool:
        """An empty page pool; kv_type is "f16" or "f32"."""

    def cancel(self, wanted: bool = True) -> None:
        """Asks the running step, or the next one, to stop between two ops; or takes that back."""
