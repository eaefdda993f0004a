"""Run files and the arrays in them, as somebody with bad intentions may have made them."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smelt import Engine, SmeltError
from smelt.trace import load_run
from smelt.trace.arrays import ArrayFile
from smelt.trace.run_file import ABOUT

Q = "blk.0.q"


@pytest.fixture(scope="module")
def members(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Those of a good run file."""
    path = tmp_path_factory.mktemp("run") / "run.npz"
    engine.trace("the time", path=path).close()
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npy(shape: str, data: bytes, dtype: str = "'<f4'") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + data


OBJECTS = pickle.dumps(np.array([print], object))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (npy("(1,)", OBJECTS, "'|O'"), "expected numbers, found the type object"),
        (npy("(3,)", bytes(12), "'<U1'"), "expected numbers, found the type <U1"),
        (npy("(3,)", bytes(24), "[('a', '<f8')]"), "expected numbers"),
        (npy("(1000000000000, 8)", bytes(64)), "64 bytes are no array"),
        (npy("(10**30,)", bytes(64)), "cannot be read"),
        (npy("(-16,)", bytes(64)), "64 bytes are no array"),
        (npy("(2, 8)", bytes(60)), "60 bytes are no array"),
        (npy("(0, 8)", b""), "0 bytes are no array"),
        (npy("()", bytes(4)), "4 bytes are no array"),
        (npy("(2, 5)", bytes(40)), "expected rows of shape"),
        (npy("__import__('os').abort()", b""), "cannot be read"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "cannot be read"),
        (b"\x93NUMPY\x03\x00\x01\x00\x00\x00{", "expected version 1 or 2"),
        (b"", "cannot be read"),
    ],
)
def test_arrays_that_are_none(
    members: dict[str, bytes], array: bytes, message: str, tmp_path: Path
) -> None:
    with load_run(packed(tmp_path / "bad.npz", members | {f"{Q}.npy": array})) as run:
        assert len(run["embed"])
        with pytest.raises(SmeltError, match=rf"bad\.npz: (array|value) '?{Q}'?.*{message}"):
            run[Q]


def test_an_archive_that_unpacks_to_far_more_than_its_size(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    bomb = npy(f"({20 << 20},)", bytes(80 << 20))
    path = packed(tmp_path / "bomb.npz", members | {f"{Q}.npy": bomb}, zipfile.ZIP_DEFLATED)
    with pytest.raises(SmeltError, match=r"bomb\.npz: expected arrays of at most 16 times"):
        load_run(path)
    # zeros that are no more than the padding of scores are fine
    path = packed(path, members | {f"{Q}.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    load_run(path).close()


def test_archives_that_are_none(members: dict[str, bytes], tmp_path: Path) -> None:
    path = packed(tmp_path / "run.npz", members)
    data = path.read_bytes()
    newer = data.replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff")
    assert newer != data
    for bad in (b"", b"PK\x03\x04" + bytes(99), data[: len(data) // 2], pickle.dumps({}), newer):
        path.write_bytes(bad)
        with pytest.raises(SmeltError, match=r"run\.npz: expected a \.npz file: "):
            ArrayFile(path)
    packed(path, members, zipfile.ZIP_LZMA)
    with pytest.raises(SmeltError, match="stored or deflated"):
        ArrayFile(path)
    damaged = bytearray(data)
    damaged[data.index(members[f"{Q}.npy"]) + 200] ^= 1
    path.write_bytes(damaged)
    with load_run(path) as run, pytest.raises(SmeltError, match="Bad CRC-32"):
        run[Q]


def change(*keys: Any, value: Any) -> Callable[[Any], None]:
    def apply(about: Any) -> None:
        for key in keys[:-1]:
            about = about[key]
        about[keys[-1]] = value

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change("values", value=3),
        change("values", 3, value="x"),
        change("values", 3, "colour", value=1),
        change("values", 3, "name", value=["a"]),
        change("values", 3, "layer", value="0"),
        change("values", 3, "shape", value=[2.5]),
        change("values", 3, "inputs", value=4),
        change("values", 3, "weights", value=[["a"]]),
        change("values", 3, "params", value={"eps": "1"}),
        change("values", 3, "parts", value=None),
        change("info", value=[]),
        change("info", "device", value=None),
        change("info", "model", value=["x"]),
        change("info", "token_ids", value=[1.5, 2, 3]),
        change("info", "token_ids", value=[]),
        change("info", "token_texts", value=["a"]),
        change("info", "logit_rows", value=[-1]),
        change("info", "logit_rows", value=[99]),
        change("statistics", value=[]),
        change("statistics", "logits", value=3),
        change("statistics", "logits", "count", value="many"),
        change("statistics", "logits", "bad", value="here"),
    ],
)
def test_records_that_are_damaged(
    members: dict[str, bytes], damage: Callable[[Any], None], tmp_path: Path
) -> None:
    about = json.loads(members[ABOUT])
    damage(about)
    path = packed(tmp_path / "bad.npz", members | {ABOUT: json.dumps(about).encode()})
    with pytest.raises(SmeltError, match=r"bad\.npz: expected a run file of smelt.* is damaged: "):
        load_run(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 200_000])
def test_records_that_are_none(members: dict[str, bytes], text: bytes, tmp_path: Path) -> None:
    path = packed(tmp_path / "bad.npz", members | {ABOUT: text})
    with pytest.raises(SmeltError, match="is damaged"):
        load_run(path)


def test_another_version(members: dict[str, bytes], tmp_path: Path) -> None:
    path = packed(tmp_path / "new.npz", members | {ABOUT: b'{"smelt_run": 9}'})
    with pytest.raises(SmeltError, match=r"new\.npz: expected a run file of version 1, found 9"):
        load_run(path)


def test_a_failed_trace_leaves_the_older_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_text("mine")

    def fail(done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*run\.npz'"):
        engine.trace("the", path=path, progress=fail)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
