"""Arrays of a .npz file that somebody else may have made: nothing is unpickled, and what is read
into memory is no more than the file's own size warrants."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import SmeltError

__all__ = ["ArrayFile"]

# An archive may unpack to so many times its size and a little more: activations are packed to
# nine tenths, scores with their padding to a tenth. What says more means harm.
RATIO, SLACK = 16, 64 << 20
# The others of zipfile's may take any amount of memory themselves.
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile and NumPy raise for damaged files, as far as was found.
DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    ArithmeticError,
    EOFError,
    OSError,
    RuntimeError,  # a password, or what zipfile does not know
    SyntaxError,
    TypeError,
    ValueError,
)


class ArrayFile(Mapping[str, np.ndarray]):
    """The arrays of numbers in a .npz file by name, read whenever they are asked for.

    SmeltError where the file is none or is damaged, now or when an array is read.
    """

    def __init__(self, path: Path):
        self.path = path
        size = path.stat().st_size
        with self._reading("expected a .npz file"):
            self._zip = zipfile.ZipFile(path)
        members = self._zip.infolist()
        if sum(member.compress_size for member in members) > size:
            raise SmeltError(f"{path}: members of the archive overlap or lie outside the file")
        if any(member.compress_type not in PACKINGS for member in members):
            raise SmeltError(f"{path}: expected members that are stored or deflated, as NumPy does")
        unpacked = sum(member.file_size for member in members)
        if unpacked > RATIO * size + SLACK:
            raise SmeltError(
                f"{path}: expected arrays of at most {RATIO} times the file's {size} bytes, found "
                f"{unpacked} bytes"
            )
        self._members = {
            member.filename.removesuffix(".npy"): member
            for member in members
            if member.filename.endswith(".npy")
        }

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __getitem__(self, name: str) -> np.ndarray:
        """[rows, ...], at least one row; KeyError where there is no such array."""
        member = self._members[name]
        with self._reading(f"array {name!r} cannot be read"):
            with self._zip.open(member) as file:
                self._check_header(file, member.file_size)
            with self._zip.open(member) as file:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def text(self, name: str) -> bytes | None:
        """A member that is no array, or None where there is none of that name."""
        with self._reading(f"{name!r} cannot be read"):
            return self._zip.read(name) if name in self._zip.namelist() else None

    def close(self) -> None:
        self._zip.close()

    @staticmethod
    def _check_header(file: IO[bytes], size: int) -> None:
        """ValueError unless there are numbers, and as many as the header says."""
        formats = np.lib.format
        readers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
        version = formats.read_magic(file)
        if version not in readers:
            raise ValueError(f"expected version 1 or 2 of the .npy format, found {version}")
        shape, _, dtype = readers[version](file)
        if dtype.kind not in "fiu":
            raise ValueError(f"expected numbers, found the type {dtype}")
        if not shape or math.prod(shape) * dtype.itemsize != size - file.tell() or 0 in shape:
            raise ValueError(f"{size - file.tell()} bytes are no array {list(shape)} of {dtype}")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            raise SmeltError(f"{self.path}: {what}: {error}") from None
