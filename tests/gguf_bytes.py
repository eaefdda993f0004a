"""GGUF files written by hand, byte by byte, so that tests can also write wrong ones."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = (
    range(13)
)
CODES = {
    UINT8: "B",
    INT8: "b",
    UINT16: "H",
    INT16: "h",
    UINT32: "I",
    INT32: "i",
    FLOAT32: "f",
    BOOL: "?",
    UINT64: "Q",
    INT64: "q",
    FLOAT64: "d",
}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def numbers(value_type: int, *values: float) -> bytes:
    return struct.pack(f"<{len(values)}{CODES[value_type]}", *values)


def array(element: int, items: Sequence[bytes]) -> bytes:
    return struct.pack("<IQ", element, len(items)) + b"".join(items)


def nested(depth: int) -> bytes:
    """The type, count and elements of an array `depth` arrays deep."""
    value = array(UINT8, [b"\7"])
    for _ in range(depth - 1):
        value = array(ARRAY, [value])
    return value


def pair(key: str | bytes, value_type: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", value_type) + value


def tensor(name: str | bytes, dims: Sequence[int], gguf_type: int, offset: int) -> bytes:
    """A descriptor; `dims` in the file's order, the contiguous one first."""
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return string(name) + shape + struct.pack("<IQ", gguf_type, offset)


def gguf(
    pairs: Iterable[bytes] = (),
    tensors: Iterable[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_pairs: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole file; the counts of the header can be made to lie."""
    pairs, tensors = list(pairs), list(tensors)
    header = struct.pack(
        "<4sIQQ",
        magic,
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(pairs) if n_pairs is None else n_pairs,
    )
    head = header + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def sample() -> bytes:
    """A small valid file with every value type, nested arrays, and tensors of four formats."""
    pairs = [
        pair("general.architecture", STRING, string("llama")),
        pair("general.alignment", UINT32, numbers(UINT32, 64)),
        *(pair(f"a.scalar{kind}", kind, numbers(kind, 1)) for kind in CODES),
        *(pair(f"an.array{kind}", ARRAY, array(kind, [numbers(kind, 1)] * 3)) for kind in CODES),
        pair("tokenizer.ggml.tokens", ARRAY, array(STRING, [string(t) for t in ("a", "é", "")])),
        pair(
            "a.nest",
            ARRAY,
            array(ARRAY, [array(INT32, [numbers(INT32, 7)]), array(STRING, [string("b")])]),
        ),
    ]
    tensors = [
        tensor("token_embd.weight", [256, 3], 12, 0),  # q4_k: 3 blocks of 144 bytes
        tensor("output_norm.weight", [5], 0, 448),
        tensor("blk.0.ffn_up.weight", [32, 1, 2], 8, 512),  # q8_0: 2 blocks of 34 bytes
        tensor("blk.0.extra", [7], 99, 640),
    ]
    return gguf(pairs, tensors, bytes(range(256)) * 3, alignment=64)
