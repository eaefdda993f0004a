"""Every type of metadata value comes out as the Python value that it means."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import gguf_bytes as g
from smelt.errors import ModelFormatError
from smelt.gguf_file import GGUFFile, Metadata, StringArray


def read(folder: Path, *pairs: bytes) -> Metadata:
    path = folder / "model.gguf"
    path.write_bytes(g.gguf(pairs))
    return GGUFFile(path).metadata


SCALARS = [
    (g.UINT8, 255),
    (g.INT8, -128),
    (g.UINT16, 65535),
    (g.INT16, -32768),
    (g.UINT32, 2**32 - 1),
    (g.INT32, -(2**31)),
    (g.FLOAT32, 0.5),
    (g.BOOL, True),
    (g.BOOL, False),
    (g.UINT64, 2**64 - 1),
    (g.INT64, -(2**63)),
    (g.FLOAT64, 1e300),
]


@pytest.mark.parametrize(("kind", "value"), SCALARS)
def test_scalars_are_python_numbers(tmp_path: Path, kind: int, value: float) -> None:
    found = read(tmp_path, g.pair("a", kind, g.numbers(kind, value)))["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("padding", range(8))
@pytest.mark.parametrize("count", [0, 1, 3, 257])
@pytest.mark.parametrize("kind", g.CODES)
def test_arrays_of_numbers(tmp_path: Path, kind: int, count: int, padding: int) -> None:
    expected = (np.arange(count) % 2).astype(g.CODES[kind])
    value = struct.pack("<IQ", kind, count) + expected.tobytes()
    key = "k" * (1 + padding)
    found = read(tmp_path, g.pair(key, g.ARRAY, value))[key]
    assert found.dtype == expected.dtype
    assert found.flags.aligned
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, expected)


TEXTS = ["", "x", "▁naïve", "a\0b", "日本", "\n" * 300]


@pytest.mark.parametrize("text", TEXTS)
def test_strings(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, g.pair("a", g.STRING, g.string(text)))["a"] == text


def test_arrays_of_strings_are_sequences(tmp_path: Path) -> None:
    value = g.array(g.STRING, [g.string(text) for text in TEXTS])
    found = read(tmp_path, g.pair("a", g.ARRAY, value))["a"]
    assert isinstance(found, StringArray)
    assert len(found) == len(TEXTS)
    assert found._strings is None, "the length needs no string"
    assert found == TEXTS
    assert found != TEXTS[1:]
    assert list(found) == found.tolist() == TEXTS
    assert found[2] == TEXTS[2]
    assert found[-2:] == TEXTS[-2:]
    assert "x" in found
    assert found.raw() == [text.encode() for text in TEXTS]
    with pytest.raises(IndexError):
        found[len(TEXTS)]


def test_tokens_that_are_not_utf8_can_be_had_as_bytes(tmp_path: Path) -> None:
    tokens = [b"\xff", b"\xe6\x97", b"ok"]
    value = g.array(g.STRING, [g.string(token) for token in tokens])
    scalar = g.pair("name", g.STRING, g.string(b"caf\xe9"))
    metadata = read(tmp_path, g.pair("a", g.ARRAY, value), scalar)
    assert metadata["a"] == ["�", "�", "ok"]
    assert metadata["a"].raw() == tokens
    assert metadata["name"] == "caf�"


def test_nested_arrays(tmp_path: Path) -> None:
    inner = [
        g.array(g.INT16, [g.numbers(g.INT16, -1)] * 2),
        g.array(g.STRING, [g.string("é"), g.string("")]),
        g.array(g.ARRAY, [g.array(g.FLOAT64, []), g.array(g.BOOL, [b"\1"])]),
        g.array(g.ARRAY, []),
    ]
    pairs = [
        g.pair("a", g.ARRAY, g.array(g.ARRAY, inner)),
        g.pair("deep", g.ARRAY, g.nested(8)),
        g.pair("after", g.UINT8, b"\3"),
    ]
    metadata = read(tmp_path, *pairs)
    assert metadata["a"] == [[-1, -1], ["é", ""], [[], [True]], []]
    assert metadata["deep"] == [[[[[[[[7]]]]]]]]
    assert metadata["after"] == 3
    assert list(metadata) == ["a", "deep", "after"]
    assert "b" not in metadata
    with pytest.raises(KeyError):
        metadata["b"]


def test_a_file_rewritten_while_open_is_noticed(tmp_path: Path) -> None:
    text = g.string("abc")
    found = read(tmp_path, g.pair("a", g.ARRAY, g.array(g.STRING, [text])))["a"]
    path = tmp_path / "model.gguf"
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(text))
        file.write(struct.pack("<Q", 2**60))
    with pytest.raises(ModelFormatError, match="was changed while it was open"):
        found.tolist()
