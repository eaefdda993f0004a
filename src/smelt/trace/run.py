"""Runs: what the ops of one evaluated prompt made, in memory or in a file (see run_file.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import SmeltError
from .arrays import ArrayFile
from .statistics import Statistics

__all__ = ["Run", "RunInfo", "TracedValue"]


@dataclass(frozen=True)
class TracedValue:
    """One value of the program that ran: an output of an op.

    op: the op's kind; shape: of one row; rows: "tokens" or "logits" (a row a token whose logits
    were wanted); inputs: the values it was made from, those in the pages of the KV cache included;
    weights: name and format of each; parts: kinds of the plain ops that a fused op stands for;
    dtype: of what is stored, or "" where nothing is.
    """

    name: str
    op: str
    layer: int
    shape: tuple[int, ...]
    rows: str = "tokens"
    inputs: tuple[str, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    params: Mapping[str, int | float] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    dtype: str = ""


@dataclass(frozen=True)
class RunInfo:
    """What ran: the model, where, and on which tokens.

    model: the file's path; name: what the file calls the model; format: of most of its weights;
    device: the device's description; logit_rows: the tokens whose logits were wanted.
    """

    model: str
    name: str
    architecture: str
    format: str
    device: str
    fused: bool
    kv_type: str
    n_layers: int
    token_ids: list[int]
    token_texts: list[str]
    logit_rows: list[int]


class Run:
    """A traced run. `values` are in the order in which ops made them; run[name] is the array of
    one, [rows, *shape], read when it is asked for.

    names: those that are stored; statistics: of every value that was looked at, stored or not.
    """

    def __init__(
        self,
        info: RunInfo,
        values: Sequence[TracedValue],
        statistics: Mapping[str, Statistics],
        blocks: Mapping[str, np.ndarray],
        path: Path | None = None,
    ):
        """blocks: of NAME or NAME@ROW, in a file or in memory."""
        self.info = info
        self.values = tuple(values)
        self.statistics = statistics
        self.path = path
        self._blocks = blocks
        self._starts: dict[str, list[tuple[int, str]]] = {}
        for key in blocks:
            match = re.fullmatch(r"(.*)@(\d{1,9})", key, re.DOTALL)
            name, row = match.groups() if match else (key, 0)
            self._starts.setdefault(name, []).append((int(row), key))
        self.by_name = {value.name: value for value in self.values}

    @property
    def n_tokens(self) -> int:
        return len(self.info.token_ids)

    @property
    def names(self) -> list[str]:
        """Of the stored values, in program order."""
        return [value.name for value in self.values if value.name in self._starts]

    def sources(self, name: str) -> list[str]:
        """What holds the numbers of a value: its name, or [] where they are not stored. Another
        engine's dump may have several tensors of one value."""
        return [name] if name in self else []

    def __contains__(self, name: object) -> bool:
        return name in self._starts

    def __getitem__(self, name: str) -> np.ndarray:
        """All rows of a value."""
        blocks = [block for _, block in self.blocks(name)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def blocks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of a value in order, as (first row, some rows): for what does not fit memory."""
        if name not in self._starts:
            where = f"{self.path}: " if self.path else ""
            known = "it was not traced" if name in self.by_name else "the program has no such value"
            raise SmeltError(f"{where}value {name} is not in this run: {known}")
        value = self.by_name.get(name)
        for first, key in sorted(self._starts[name]):
            block = self._blocks[key]
            if value and block.shape[1:] != value.shape:
                raise SmeltError(
                    f"{self.path or 'run'}: value {name}: expected rows of shape "
                    f"{list(value.shape)}, found {list(block.shape[1:])}"
                )
            yield first, block

    def close(self) -> None:
        """Closes the file; what was read stays."""
        if isinstance(self._blocks, ArrayFile):
            self._blocks.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
