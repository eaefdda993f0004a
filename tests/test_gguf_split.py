"""A model in several files opens as one, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

import gguf_bytes as g
from smelt.errors import ModelFormatError
from smelt.gguf_file import GGUFFile

F32 = 0


def split_model(folder: Path, n_tensors: int = 5) -> list[Path]:
    """A model of `n_tensors` tensors, tensor i filled with i, in files of two tensors each."""
    writer = GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=2)
    for i in range(n_tensors):
        writer.add_tensor(f"blk.{i}.weight", np.full((3, 4), i, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def test_the_first_part_opens_all(tmp_path: Path) -> None:
    paths = split_model(tmp_path)
    assert [path.name for path in paths] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    with GGUFFile(paths[0]) as file:
        assert file.paths == paths
        assert file.metadata["general.architecture"] == "llama"
        assert list(file.tensors) == [f"blk.{i}.weight" for i in range(5)]
        assert [tensor.file for tensor in file.tensors.values()] == [
            paths[i // 2] for i in range(5)
        ]
        for i, tensor in enumerate(file.tensors.values()):
            assert set(tensor.data.view("<f4")) == {i}


def swap(first: Path, second: Path) -> None:
    content = first.read_bytes()
    shutil.copyfile(second, first)
    second.write_bytes(content)


def split_pairs(number: int, count: int, total: int) -> list[bytes]:
    return [
        g.pair("split.no", g.UINT16, g.numbers(g.UINT16, number)),
        g.pair("split.count", g.UINT16, g.numbers(g.UINT16, count)),
        g.pair("split.tensors.count", g.INT32, g.numbers(g.INT32, total)),
    ]


def part(number: int, count: int, total: int, *names: str) -> bytes:
    tensors = [g.tensor(name, [8], F32, 32 * i) for i, name in enumerate(names)]
    return g.gguf(split_pairs(number, count, total), tensors, bytes(32 * len(names)))


SPLIT_FAULTS: dict[str, tuple[Callable[[list[Path]], Any], int, str]] = {
    "missing": (
        lambda paths: paths[1].unlink(),
        0,
        r"00001-of-00003.gguf: expected 3 files beside .*00002-of-00003.gguf is missing",
    ),
    "second part": (lambda _: None, 1, r"open 'model-00001-of-00003.gguf', which opens all"),
    "swapped": (
        lambda paths: swap(paths[1], paths[2]),
        0,
        r"00002-of-00003.gguf: expected split.no 1 and split.count 3, found 2 and 3",
    ),
    "first is another": (
        lambda paths: swap(paths[0], paths[2]),
        0,
        r"00001-of-00003.gguf: expected split.no 0 and split.count 3, found 2 and 3",
    ),
    "no split keys": (
        lambda paths: paths[2].write_bytes(g.gguf()),
        0,
        r"00003-of-00003.gguf: expected split.no 2 .* found -1 and -1",
    ),
    "another count": (
        lambda paths: paths[2].write_bytes(part(2, 4, 5, "a")),
        0,
        r"00003-of-00003.gguf: expected split.no 2 and split.count 3, found 2 and 4",
    ),
    "too few tensors": (
        lambda paths: paths[2].write_bytes(part(2, 3, 5)),
        0,
        r"key 'split.tensors.count': expected 5 tensors in 3 files, found 4",
    ),
    "same tensor": (
        lambda paths: paths[2].write_bytes(part(2, 3, 5, "blk.0.weight")),
        0,
        r"00003-of-00003.gguf: tensor 'blk.0.weight': expected each name once",
    ),
    "damaged": (
        lambda paths: paths[2].write_bytes(paths[2].read_bytes()[:-40]),
        0,
        r"00003-of-00003.gguf: tensor 'blk.4.weight': its 48 bytes at offset 0 do not fit",
    ),
    "type of split.count": (
        lambda paths: paths[0].write_bytes(g.gguf([g.pair("split.count", 8, g.string("3"))])),
        0,
        r"key 'split.count': expected an integer, found str",
    ),
}


@pytest.mark.parametrize(
    ("harm", "opened", "message"), SPLIT_FAULTS.values(), ids=SPLIT_FAULTS.keys()
)
def test_inconsistent_parts_are_refused(
    tmp_path: Path, harm: Callable[[list[Path]], Any], opened: int, message: str
) -> None:
    paths = split_model(tmp_path)
    harm(paths)
    with pytest.raises(ModelFormatError, match=message):
        GGUFFile(paths[opened])


@pytest.mark.parametrize("name", ["renamed.gguf", "model-00001-of-00002.gguf"])
def test_a_renamed_part_is_refused(tmp_path: Path, name: str) -> None:
    first = split_model(tmp_path)[0].rename(tmp_path / name)
    with pytest.raises(ModelFormatError, match=r"expected one of 3 files, .*-00001-of-00003.gguf"):
        GGUFFile(first)


def test_a_split_of_one_is_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(part(0, 1, 1, "a"))
    assert list(GGUFFile(path).tensors) == ["a"]
