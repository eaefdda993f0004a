"""Writes GGUF files: metadata, tensors, data, under another name until all of it is on the disk.

The layout is at the head of native/gguf/reader.h.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from smelt import _gguf
from smelt.formats import Format
from smelt.gguf_metadata import RawValue
from smelt.new_file import replacing

__all__ = ["NewTensor", "encode_value", "write_gguf"]

VERSION = 3
TYPE_OF_CODE = {code: number for number, code in _gguf.VALUE_CODES.items()}
TYPE_OF_DTYPE = {np.dtype(f"<{code}"): number for code, number in TYPE_OF_CODE.items()}


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written: its name, its shape (the contiguous dimension last), its format."""

    name: str
    shape: tuple[int, ...]
    gguf_type: int
    nbytes: int

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], format: Format) -> NewTensor:
        """Raises ModelFormatError where a row is no whole number of blocks."""
        nbytes = math.prod(shape[:-1]) * format.row_bytes(shape[-1])
        return cls(name, shape, format.gguf_type, nbytes)


def encode_value(value: Any) -> RawValue:
    """A metadata value from Python: bool, int, float, str, a NumPy array of numbers, or a sequence
    of strings.

    An int becomes uint32, or int32 below zero, and the 64-bit type where that is too narrow; a
    float becomes float32. Raises TypeError for anything else.
    """
    if isinstance(value, RawValue):
        return value
    if isinstance(value, bool):
        return _number("?", value)
    if isinstance(value, int):
        narrow, wide, bits = ("i", "q", 31) if value < 0 else ("I", "Q", 32)
        return _number(narrow if -(1 << bits) <= value < 1 << bits else wide, value)
    if isinstance(value, float):
        return _number("f", value)
    if isinstance(value, str):
        return RawValue(_gguf.STRING, _text(value))
    if hasattr(value, "dtype"):
        return _numbers(value)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return _array(_gguf.STRING, len(value), b"".join(map(_text, value)))
    raise TypeError(f"GGUF metadata cannot hold {type(value).__name__}")


def _number(code: str, value: float) -> RawValue:
    return RawValue(TYPE_OF_CODE[code], struct.pack(f"<{code}", value))


def _numbers(array: npt.NDArray[Any]) -> RawValue:
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    value_type = TYPE_OF_DTYPE.get(little_endian.dtype)
    if value_type is None:
        raise TypeError(f"GGUF metadata cannot hold arrays of {array.dtype}")
    return _array(value_type, array.size, little_endian.tobytes())


def _array(element: int, count: int, items: bytes) -> RawValue:
    return RawValue(_gguf.ARRAY, struct.pack("<IQ", element, count) + items)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Sequence[NewTensor],
    data: Iterable[npt.NDArray[np.uint8]],
    *,
    alignment: int = 32,
) -> None:
    """Write a model.

    metadata: values as encode_value takes them; with another alignment than 32, general.alignment
    is among them. data: the bytes of each tensor, in the order of `tensors`, taken one at a time.

    The file appears under its name when it is complete; what was there before is replaced. On any
    error it stays, and nothing new is left. Raises OSError with the path, for a full disk too.
    """
    with replacing(path) as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            raw = encode_value(value)
            file.write(_text(key) + struct.pack("<I", raw.value_type) + raw.data)
        offset = 0
        for tensor in tensors:
            dims = tensor.shape[::-1]
            file.write(_text(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
            file.write(struct.pack("<IQ", tensor.gguf_type, offset))
            offset += tensor.nbytes + -tensor.nbytes % alignment
        _pad(file, alignment)
        for tensor, blocks in zip(tensors, data, strict=True):
            if blocks.nbytes != tensor.nbytes:
                raise ValueError(
                    f"tensor {tensor.name!r}: expected {tensor.nbytes} bytes, found {blocks.nbytes}"
                )
            file.write(blocks.data)
            _pad(file, alignment)


def _pad(file: BinaryIO, alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))
