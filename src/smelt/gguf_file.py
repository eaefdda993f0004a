"""GGUF files: metadata and zero-copy tensors of a mapped model, checked before they are used."""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from smelt import _gguf
from smelt.errors import ModelFormatError
from smelt.gguf_metadata import MappedFile, Metadata, StringArray

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    ByteArray = npt.NDArray[np.uint8]

__all__ = ["GGUFFile", "Metadata", "StringArray", "Tensor"]

CLOSED = "the GGUFFile is closed"
SPLIT_NAME = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a file: what it is called, how it is shaped and stored, and its bytes."""

    name: str
    shape: tuple[int, ...]
    """In NumPy's order, the contiguous dimension last: a linear weight is (n_out, n_in)."""
    format: str
    """smelt's name of native/formats.def, such as "q4_k", or "type 99" where there is none."""
    supported: bool
    """Whether smelt can compute with this format."""
    gguf_type: int
    """The number of the format in the file."""
    nbytes: int
    """0 where the format is unknown, because then the size is."""
    data: ByteArray = field(repr=False)
    """uint8 [nbytes], read-only: a view of the file, which stays mapped as long as it lives."""
    file: Path
    offset: int
    """Of the data, in bytes from the start of `file`."""

    @property
    def mapping(self) -> tuple[int, int]:
        """Address and bytes of the whole mapped file that `data` is part of."""
        return self.data.ctypes.data - self.offset, len(self._mapped_file())

    def forget(self) -> None:
        """Let the tensor's pages leave memory; a later look reads them from the file again."""
        if hasattr(mmap, "MADV_DONTNEED") and self.nbytes:
            start = self.offset // mmap.PAGESIZE * mmap.PAGESIZE
            end = self.offset + self.nbytes
            self._mapped_file().madvise(mmap.MADV_DONTNEED, start, end - start)

    def _mapped_file(self) -> mmap.mmap:
        mapping: object = self.data
        while not isinstance(mapping, mmap.mmap):
            mapping = mapping.obj if isinstance(mapping, memoryview) else mapping.base  # type: ignore[attr-defined]
        return mapping


class GGUFFile:
    """A GGUF model, memory-mapped: `metadata`, and `tensors` in the order of the file.

    The first part of a model split into -00001-of-0000N.gguf files opens all of them; the
    metadata is then that of the first. Versions 2 and 3, little-endian.

    What was taken from the object stays valid after close(): the mapping goes with the last array
    that looks into it. The file must not be shortened meanwhile: reading what is gone ends the
    process (SIGBUS), as for every program that maps files.

    Raises FileNotFoundError, IsADirectoryError or PermissionError where there is no file to read,
    and ModelFormatError where its content is damaged, truncated, contradictory, or of another
    byte order or version.
    """

    path: Path
    paths: list[Path]
    """All files of the model."""
    version: int
    alignment: int
    """Of the tensors' offsets in the (first) file, in bytes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        first = _Part(self.path)
        parts = [first, *_other_parts(first)]
        self.paths = [part.path for part in parts]
        self.version = first.version
        self.alignment = first.alignment
        self._metadata: Metadata | None = first.metadata
        self._tensors: Mapping[str, Tensor] | None = MappingProxyType(_join(parts))

    @property
    def metadata(self) -> Metadata:
        """The metadata; ValueError once the file is closed."""
        if self._metadata is None:
            raise ValueError(CLOSED)
        return self._metadata

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of all parts by name; ValueError once the file is closed."""
        if self._tensors is None:
            raise ValueError(CLOSED)
        return self._tensors

    def close(self) -> None:
        """Let go of the file. Tensors and metadata that somebody still holds keep it mapped."""
        self._metadata = None
        self._tensors = None

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._tensors is None else f"{len(self._tensors)} tensors"
        return f"<GGUFFile {str(self.path)!r}, version {self.version}, {state}>"


class _Part:
    """One file of a model, mapped and checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file = MappedFile(path, _map(path))
        self.version, self.alignment, pairs, records = _gguf.read_index(
            str(path), file.data.ctypes.data, file.data.nbytes
        )
        self.metadata = Metadata(file, pairs)
        self.tensors = [_tensor(file, record) for record in records]
        self._refuse_overlaps()

    def integer(self, key: str, default: int) -> int:
        """The value of one of the split.* keys."""
        value = self.metadata.get(key, default)
        if not isinstance(value, int):
            _refuse(self.path, f"key {key!r}: expected an integer, found {type(value).__name__}")
        return value

    def _refuse_overlaps(self) -> None:
        ordered = sorted(self.tensors, key=lambda tensor: (tensor.offset, -tensor.nbytes))
        for before, after in pairwise(ordered):
            end = before.offset + before.nbytes
            if end > after.offset:
                _refuse(
                    self.path,
                    f"tensor {after.name[:100]!r}: expected data of its own, found that it begins "
                    f"at byte {after.offset}, inside {before.name[:100]!r} (bytes {before.offset} "
                    f"to {end})",
                )


def _other_parts(first: _Part) -> list[_Part]:
    """The parts behind the first of a split model, if it is one."""
    count = first.integer("split.count", 1)
    if count <= 1:
        return []
    paths = _split_paths(first.path, count)
    if first.path != paths[0]:
        _refuse(
            first.path,
            f"this is a later part of a model in {count} files: open {paths[0].name!r}, "
            "which opens all",
        )
    _check_part_number(first, 0, count)
    parts = []
    for number, path in enumerate(paths[1:], start=1):
        try:
            part = _Part(path)
        except FileNotFoundError:
            _refuse(first.path, f"expected {count} files beside each other, {path} is missing")
        _check_part_number(part, number, count)
        parts.append(part)
    found = sum(len(part.tensors) for part in [first, *parts])
    expected = first.integer("split.tensors.count", found)
    if found != expected:
        _refuse(
            first.path,
            f"key 'split.tensors.count': expected {expected} tensors in {count} files, "
            f"found {found}",
        )
    return parts


def _split_paths(path: Path, count: int) -> list[Path]:
    """The paths of all parts of a split model, from that of one part."""
    name = SPLIT_NAME.fullmatch(path.name)
    if name is None or int(name["count"]) != count:
        _refuse(
            path,
            f"key 'split.count': expected one of {count} files, named as in "
            f"{path.stem}-00001-of-{count:05d}.gguf; give the file its original name",
        )
    return [
        path.with_name(f"{name['stem']}-{number:05d}-of-{count:05d}.gguf")
        for number in range(1, count + 1)
    ]


def _check_part_number(part: _Part, number: int, count: int) -> None:
    found = (part.integer("split.no", -1), part.integer("split.count", -1))
    if found != (number, count):
        _refuse(
            part.path,
            f"expected split.no {number} and split.count {count}, found {found[0]} and {found[1]}: "
            "the file belongs to another model or has been renamed",
        )


def _join(parts: list[_Part]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in tensors:
                _refuse(
                    part.path,
                    f"tensor {tensor.name[:100]!r}: expected each name once, found it twice",
                )
            tensors[tensor.name] = tensor
    return tensors


def _map(path: Path) -> ByteArray:
    """The file as a read-only array over a mapping that lives as long as the array's views."""
    import numpy as np

    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Expected a GGUF file, found a directory", str(path))
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
        _refuse(path, "expected a regular file, which can be mapped, found a device or a pipe")
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            _refuse(path, "expected a GGUF file, found an empty one; download or convert it again")
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _tensor(file: MappedFile, record: _gguf.TensorRecord) -> Tensor:
    raw_name, shape, format_name, supported, gguf_type, nbytes, offset = record
    name = file.name("tensor", raw_name)
    data = file.data[offset : offset + nbytes]
    return Tensor(name, shape, format_name, supported, gguf_type, nbytes, data, file.path, offset)


def _refuse(path: Path, message: str) -> NoReturn:
    raise ModelFormatError(f"{path}: {message}")
