"""The metadata of a GGUF file: values decoded from the mapped file when they are first read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from smelt import _gguf
from smelt.errors import ModelFormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    ByteArray = npt.NDArray[np.uint8]

__all__ = ["MappedFile", "Metadata", "RawValue", "StringArray"]


@dataclass(frozen=True)
class RawValue:
    """A metadata value as a file holds it, behind the number of its type."""

    value_type: int
    data: bytes


@dataclass(frozen=True)
class MappedFile:
    """The bytes of one file, as _gguf.read_index has checked them."""

    path: Path
    data: ByteArray
    """uint8 [file size], read-only; it and its views keep the mapping alive."""

    def strings(self, offset: int, count: int, *, raw: bool) -> tuple[list[Any], int]:
        """The `count` strings that begin at `offset`, bytes if `raw` or else str, and their end."""
        return _gguf.read_strings(
            str(self.path), self.data.ctypes.data, self.data.nbytes, offset, count, raw
        )

    def numbers(self, value_type: int, offset: int, count: int) -> npt.NDArray[Any]:
        """The `count` numbers that begin at `offset`: a view, often an unaligned one."""
        import numpy as np

        dtype = np.dtype("<" + _gguf.VALUE_CODES[value_type])
        return self.data[offset : offset + count * dtype.itemsize].view(dtype)

    def name(self, kind: str, raw: bytes) -> str:
        """A key or a tensor's name: ModelFormatError where it is not UTF-8."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise ModelFormatError(
                f"{self.path}: {kind} {raw[:100]!r}: expected a name in UTF-8, found other bytes"
            ) from None


class StringArray(Sequence[str]):
    """The strings of a metadata array, read from the file when one of them is first wanted.

    Items are str. Vocabularies may hold tokens that are not UTF-8: U+FFFD stands for their invalid
    bytes here, and raw() gives every string as it lies in the file. An array equals a list of the
    same strings.
    """

    def __init__(self, file: MappedFile, offset: int, count: int) -> None:
        self._file = file
        self._offset = offset
        self._count = count
        self._strings: list[str] | None = None

    def tolist(self) -> list[str]:
        """All strings, as a new list."""
        return list(self._read())

    def raw(self) -> list[bytes]:
        """All strings, as the bytes that the file holds."""
        return self._file.strings(self._offset, self._count, raw=True)[0]

    def _read(self) -> list[str]:
        if self._strings is None:
            self._strings = self._file.strings(self._offset, self._count, raw=False)[0]
        return self._strings

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._read()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringArray):
            return self.raw() == other.raw()
        return self._read() == other

    def __repr__(self) -> str:
        return f"<StringArray of {self._count} strings>"


class Metadata(Mapping[str, Any]):
    """The metadata of a file: key -> value, in the file's order.

    Numbers are int, float or bool; strings are str, in which U+FFFD stands for bytes that are not
    UTF-8; arrays of numbers are read-only NumPy arrays, zero-copy where the file happens to align
    them; arrays of strings are StringArray; arrays of arrays are nested lists. Values are decoded
    when first read.
    """

    def __init__(self, file: MappedFile, pairs: list[_gguf.Pair]) -> None:
        self._file = file
        self._values: dict[str, Any] = {}
        self._pairs: dict[str, _gguf.Pair] = {}
        for pair in pairs:
            key = file.name("key", pair[0])
            if key in self._pairs:
                raise ModelFormatError(
                    f"{file.path}: key {key[:100]!r}: expected each key once, found it twice"
                )
            self._pairs[key] = pair

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            self._values[key] = self._decode(self._pairs[key])
        return self._values[key]

    def raw(self, key: str) -> RawValue:
        """The value as the file holds it."""
        _, value_type, element, count, offset, nbytes = self._pairs[key]
        head = b""
        if value_type == _gguf.STRING:
            head = struct.pack("<Q", nbytes)
        elif value_type == _gguf.ARRAY:
            head = struct.pack("<IQ", element, count)
        return RawValue(value_type, head + self._file.data[offset : offset + nbytes].tobytes())

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"<Metadata of {len(self)} keys>"

    def _decode(self, pair: _gguf.Pair) -> Any:
        _, value_type, element, count, offset, nbytes = pair
        if value_type == _gguf.STRING:
            return self._file.data[offset : offset + nbytes].tobytes().decode("utf-8", "replace")
        if value_type != _gguf.ARRAY:
            return self._file.numbers(value_type, offset, 1)[0].item()
        if element == _gguf.STRING:
            return StringArray(self._file, offset, count)
        if element == _gguf.ARRAY:
            return self._nested(offset, count)[0]
        numbers = self._file.numbers(element, offset, count)
        if not numbers.flags.aligned:
            numbers = numbers.copy()
            numbers.flags.writeable = False
        return numbers

    def _nested(self, offset: int, count: int) -> tuple[list[Any], int]:
        """The `count` arrays that begin at `offset`, as lists, and where they end."""
        arrays: list[Any] = []
        header = struct.Struct("<IQ")
        for _ in range(count):
            start = offset + header.size
            element, inner = header.unpack(self._file.data[offset:start].tobytes())
            values: list[Any]
            if element == _gguf.ARRAY:
                values, offset = self._nested(start, inner)
            elif element == _gguf.STRING:
                values, offset = self._file.strings(start, inner, raw=False)
            else:
                numbers = self._file.numbers(element, start, inner)
                values, offset = numbers.tolist(), start + numbers.nbytes
            arrays.append(values)
        return arrays, offset
