"""Run files: a zip of .npy files, as numpy.savez writes it, so that numpy.load opens it too.

Values are stored in the blocks of rows they were made in: "blk.0.q" is the first, "blk.0.q@512"
begins at row 512. "run.json" says what the run was. Such files are passed on with reports of
faults: what is in one is checked before it is believed.
"""

from __future__ import annotations

import json
import os
import sys
import types
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from itertools import chain, cycle
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..errors import SmeltError
from ..new_file import replacing
from .arrays import ArrayFile
from .run import Run, RunInfo, TracedValue
from .statistics import Statistics

__all__ = ["ABOUT", "Writer", "load_run"]

VERSION = 1
ABOUT = "run.json"


class Writer:
    """Takes the blocks of a run as they are made: into a file, or, without a path, into memory."""

    def __init__(self, path: str | os.PathLike[str] | None):
        self._path = None if path is None else Path(path)
        self._memory: dict[str, np.ndarray] = {}
        self._zip: zipfile.ZipFile | None = None
        self._file = ExitStack()
        if self._path is not None:
            file = self._file.enter_context(replacing(self._path, synced=False))
            self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

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
        self._file.close()
        return load_run(self._path)

    def abandon(self) -> None:
        """Removes what was written so far."""
        if self._zip is not None:
            with suppress(OSError, ValueError):  # a full disk, which has been told already
                self._zip.close()
        self._file.__exit__(*sys.exc_info())


def load_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run file; values are read when they are asked for. SmeltError if it is none."""
    path = Path(path)
    arrays = ArrayFile(path)
    try:
        return _load(arrays)
    except BaseException:
        arrays.close()
        raise


def _load(arrays: ArrayFile) -> Run:
    wanted = f"{arrays.path}: expected a run file of smelt, made with `smelt trace`"
    text = arrays.text(ABOUT)
    if text is None:
        raise SmeltError(f"{wanted}, found a .npz file without {ABOUT}")
    try:
        about: dict[str, Any] = json.loads(text)
        if about["smelt_run"] != VERSION:
            raise SmeltError(
                f"{arrays.path}: expected a run file of version {VERSION}, found "
                f"{about['smelt_run']!r:.20}"
            )
        info = RunInfo(**about["info"])
        values = [_value(value) for value in about["values"]]
        statistics = {name: Statistics.from_dict(s) for name, s in about["statistics"].items()}
        for made in (info, *values, *statistics.values()):
            _check_types(made)
        _check_rows(info)
        return Run(info, values, statistics, arrays, arrays.path)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise SmeltError(f"{wanted}; its {ABOUT} is damaged: {error!r:.200}") from None


def _value(fields: dict[str, Any]) -> TracedValue:
    """From JSON, which has lists for tuples."""
    fields = {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
    return TracedValue(**{**fields, "weights": tuple(map(tuple, fields["weights"]))})


def _check_types(made: Any) -> None:
    """TypeError where a field of a dataclass is not what its annotation says."""
    for name, kind in get_type_hints(type(made)).items():
        if not _fits(getattr(made, name), kind):
            raise TypeError(f"{type(made).__name__}.{name} is {getattr(made, name)!r:.60}")


def _fits(x: Any, kind: Any) -> bool:
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(x, one) for one in of)
    if origin is tuple and of[-1] is not ...:
        return isinstance(x, tuple) and len(x) == len(of) and all(map(_fits, x, of))
    if origin in (tuple, list):
        return isinstance(x, origin) and all(_fits(item, of[0]) for item in x)
    if origin is not None:  # a Mapping
        return isinstance(x, dict) and all(map(_fits, chain(*x.items()), cycle(of)))
    if kind in (int, float):
        return type(x) is int or (kind is float and type(x) is float)
    return isinstance(x, kind)


def _check_rows(info: RunInfo) -> None:
    n = len(info.token_ids)
    if len(info.token_texts) != n or not n:
        raise ValueError(f"{n} token ids and {len(info.token_texts)} token texts")
    if not all(0 <= row < n for row in info.logit_rows):
        raise ValueError(f"logits of other tokens than the prompt's {n}")
