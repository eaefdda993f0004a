"""Runs: what the ops of one evaluated prompt made, in memory or in a file.

A run file is a zip of .npy files, as numpy.savez writes it, so that numpy.load opens it too. Values
are stored in the blocks of rows they were made in: "blk.0.q" is the first, "blk.0.q@512" begins
at row 512. "run.json" says what the run was.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SmeltError
from .statistics import Statistics

__all__ = ["Run", "RunInfo", "TracedValue", "Writer", "load_run"]

VERSION = 1
ABOUT = "run.json"


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
            if key == ABOUT:
                continue
            name, _, row = key.partition("@")
            self._starts.setdefault(name, []).append((int(row or 0), key))
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
        for first, key in sorted(self._starts[name]):
            yield first, self._blocks[key]

    def close(self) -> None:
        """Closes the file; what was read stays."""
        if isinstance(self._blocks, np.lib.npyio.NpzFile):
            self._blocks.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Writer:
    """Takes the blocks of a run as they are made: into a file, or, without a path, into memory."""

    def __init__(self, path: str | os.PathLike[str] | None):
        self._path = None if path is None else Path(path)
        self._memory: dict[str, np.ndarray] = {}
        self._zip: zipfile.ZipFile | None = None
        if self._path is not None:
            self._partial = self._path.with_name(self._path.name + ".partial")
            self._zip = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_STORED)

    def add(self, name: str, first_row: int, rows: np.ndarray) -> None:
        """Stores rows of a value; they may be overwritten afterwards."""
        key = f"{name}@{first_row}" if first_row else name
        if self._zip is None:
            self._memory[key] = rows.copy()
            return
        with self._zip.open(f"{key}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(rows), allow_pickle=False)

    def finish(
        self,
        info: RunInfo,
        values: Sequence[TracedValue],
        statistics: Mapping[str, Statistics],
    ) -> Run:
        """Writes what the run was; the file is there under its name from now on."""
        if self._zip is None or self._path is None:
            return Run(info, values, statistics, self._memory)
        about = {
            "smelt_run": VERSION,
            "info": asdict(info),
            "values": [asdict(value) for value in values],
            "statistics": {name: s.as_dict() for name, s in statistics.items()},
        }
        self._zip.writestr(ABOUT, json.dumps(about, ensure_ascii=False))
        self._zip.close()
        os.replace(self._partial, self._path)
        return load_run(self._path)

    def abandon(self) -> None:
        """Removes what was written so far."""
        if self._zip is not None:
            self._zip.close()
            self._partial.unlink(missing_ok=True)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run file; values are read when they are asked for. SmeltError if it is none."""
    path = Path(path)
    try:
        arrays = np.load(path, allow_pickle=False)
        about: dict[str, Any] = json.loads(arrays[ABOUT])
        version = about["smelt_run"]
    except (ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise SmeltError(
            f"{path}: expected a run file of smelt (a .npz with {ABOUT} in it); make one with "
            f"`smelt trace`: {error}"
        ) from None
    if version != VERSION:
        raise SmeltError(f"{path}: expected a run file of version {VERSION}, found {version}")
    values = [
        TracedValue(
            **{
                **value,
                "shape": tuple(value["shape"]),
                "inputs": tuple(value["inputs"]),
                "weights": tuple((name, fmt) for name, fmt in value["weights"]),
                "parts": tuple(value["parts"]),
            }
        )
        for value in about["values"]
    ]
    statistics = {name: Statistics.from_dict(s) for name, s in about["statistics"].items()}
    return Run(RunInfo(**about["info"]), values, statistics, arrays, path)
