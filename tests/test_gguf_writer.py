"""The GGUF writer: smelt and the gguf package read the files back; nothing is ever half there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from gguf_bytes import sample
from smelt.formats import FORMATS, encode_native
from smelt.gguf_file import GGUFFile
from smelt.gguf_writer import NewTensor, encode_value, write_gguf

VALUES = {
    "general.architecture": "llama",
    "a.bool": True,
    "an.int": 7,
    "a.negative": -7,
    "a.large": 1 << 40,
    "a.large.negative": -(1 << 40),
    "a.float": 0.5,
    "text": "é\n",
    "no.text": "",
    "strings": ["a", "", "▁b"],
    "floats": np.array([0.5, -1], np.float32),
    "doubles": np.array([0.5], ">f8"),
    "bytes": np.arange(256, dtype=np.uint8),
    "ints": np.array([-1, 2], np.int64),
    "flags": np.array([True, False]),
}


def tensor(name: str, shape: tuple[int, ...], format: str) -> NewTensor:
    return NewTensor.of(name, shape, FORMATS[format])


def blocks(shape: tuple[int, ...], format: str) -> np.ndarray:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return encode_native(FORMATS[format], weights)


SHAPES = {
    "a": ((3, 256), "q4_k"),
    "b": ((5,), "f32"),
    "c": ((2, 3, 32), "q8_0"),
    "d": ((1,), "f16"),
}


def write(path: Path, alignment: int = 32) -> None:
    metadata = VALUES | ({"general.alignment": alignment} if alignment != 32 else {})
    tensors = [tensor(name, *entry) for name, entry in SHAPES.items()]
    write_gguf(path, metadata, tensors, (blocks(*e) for e in SHAPES.values()), alignment=alignment)


@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_smelt_reads_it(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "file.gguf"
    write(path, alignment)
    with GGUFFile(path) as file:
        for key, value in VALUES.items():
            read = file.metadata[key]
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(read, value)
                assert read.dtype == value.dtype.newbyteorder("<")
            else:
                assert read == value
                assert type(read) is type(value) or key == "strings"
        assert list(file.tensors) == list(SHAPES)
        for name, (shape, format) in SHAPES.items():
            found = file.tensors[name]
            assert (found.shape, found.format) == (shape, format)
            assert found.offset % alignment == 0
            np.testing.assert_array_equal(found.data, blocks(shape, format).ravel())
    assert path.stat().st_size % alignment == 0


def test_gguf_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    write(path)
    reader = gguf.GGUFReader(path)
    for key, value in VALUES.items():
        contents = reader.fields[key].contents()
        assert contents == (value.tolist() if isinstance(value, np.ndarray) else value)
    for found in reader.tensors:
        shape, format = SHAPES[found.name]
        assert tuple(found.shape[::-1]) == shape
        assert found.tensor_type == FORMATS[format].gguf_type
        np.testing.assert_array_equal(
            found.data.view(np.uint8).ravel(), blocks(shape, format).ravel()
        )


def test_raw_values_are_copied_to_the_byte(tmp_path: Path) -> None:
    """Every value type, nested arrays, and strings that are not UTF-8."""
    original, copy = tmp_path / "original.gguf", tmp_path / "copy.gguf"
    original.write_bytes(sample().replace("é".encode(), b"\xff\xfe"))
    with GGUFFile(original) as file:
        raw = {key: file.metadata.raw(key) for key in file.metadata}
        write_gguf(copy, raw, [], [])
        head = original.read_bytes()[24 : 24 + 64]
        assert copy.read_bytes()[24 : 24 + 64] == head
        with GGUFFile(copy) as copied:
            assert {key: copied.metadata.raw(key) for key in copied.metadata} == raw
            assert copied.metadata["tokenizer.ggml.tokens"].raw()[1] == b"\xff\xfe"


@pytest.mark.parametrize("value", [None, object(), [1, 2], np.array([1j]), np.array(["a"])])
def test_values_that_gguf_lacks(value: object) -> None:
    with pytest.raises(TypeError, match="GGUF metadata cannot hold"):
        encode_value(value)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with an older file, which is alone and whole afterwards."""
    (tmp_path / "file.gguf").write_text("older")
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["file.gguf"]
    assert (tmp_path / "file.gguf").read_text() == "older"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_an_error_leaves_the_older_file(folder: Path, error: type[BaseException]) -> None:
    def data() -> Iterator[np.ndarray]:
        yield blocks((3, 256), "q4_k")
        raise error

    entries = [tensor("a", (3, 256), "q4_k"), tensor("b", (5,), "f32")]
    with pytest.raises(error):
        write_gguf(folder / "file.gguf", {}, entries, data())


def test_wrong_sizes_leave_the_older_file(folder: Path) -> None:
    entries = [tensor("a", (3, 256), "q4_k")]
    with pytest.raises(ValueError, match="'a': expected 432 bytes, found 20"):
        write_gguf(folder / "file.gguf", {}, entries, [blocks((5,), "f32")])
    with pytest.raises(ValueError, match="zip"):
        write_gguf(folder / "file.gguf", {}, entries, [])


def test_the_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    path.write_text("older")
    write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.gguf"]
    with GGUFFile(path) as file:
        assert list(file.tensors) == list(SHAPES)
