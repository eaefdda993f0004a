"""Files of packed matrices: the same answers, used where they belong, harmless if damaged."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from small_config import make_config
from smelt import Engine, UnsupportedModelError, _cpu, pack
from smelt.backends.cpu import Device
from smelt.formats import FORMATS
from smelt.gguf_file import GGUFFile
from smelt.gguf_writer import NewTensor, write_gguf
from smelt.graph.ops import Recorder, Weight
from smelt.graph.program import build, tables
from tiny_model import BOS, write_tiny_llama

TOKENS = [BOS, *range(20, 37)]
PACKABLE = [name for name, format in FORMATS.items() if _cpu.packed_bytes(format.index, 16, 256)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "tiny.gguf", formats={"attn_v": "q6_k", "output": "f16"})


def logits(path: Path) -> np.ndarray:
    with Engine(path, device="cpu", threads=2) as engine:
        return engine.logits(TOKENS)


def packed_tensors(path: Path) -> dict[str, np.ndarray]:
    with GGUFFile(path) as file:
        return {name: tensor.data.copy() for name, tensor in file.tensors.items()}


def rewrite(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """The file again, with some values changed and other tensors."""
    with GGUFFile(path) as file:
        old = {key: file.metadata.raw(key) for key in file.metadata}
    entries = [NewTensor(name, data.shape, 24, data.nbytes) for name, data in tensors.items()]
    alignment = metadata.get("general.alignment", 64)
    write_gguf(path, {**old, **metadata}, entries, list(tensors.values()), alignment=alignment)


def with_other_scales(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Matrices of the same sizes that make other logits, so that it shows whether they are used."""
    return {name: np.zeros_like(data) for name, data in tensors.items()}


@pytest.mark.parametrize("isa", _cpu.instruction_sets())
@pytest.mark.parametrize("format", PACKABLE)
def test_the_same_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, isa: str
) -> None:
    monkeypatch.setenv("SMELT_ISA", isa)
    path = write_tiny_llama(tmp_path / "tiny.gguf", format)
    before = logits(path)
    packed = pack(path, threads=2)
    assert packed.path == tmp_path / "tiny.gguf.packed"
    assert packed.nbytes == packed.path.stat().st_size
    np.testing.assert_array_equal(logits(path), before)


def test_what_is_in_the_file_is_what_is_used(model: Path) -> None:
    before = logits(model)
    packed = pack(model).path
    rewrite(packed, {}, with_other_scales(packed_tensors(packed)))
    assert np.abs(logits(model) - before).max() > 0.1


def test_every_quantised_matrix_is_in_it_and_no_other(model: Path) -> None:
    """Gate and up as one stream; vectors, the table of tokens and F16 not at all."""
    names = list(packed_tensors(pack(model).path))
    layer = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate+ffn_up", "ffn_down"]
    assert names == [
        "+".join(f"blk.{i}.{part}.weight" for part in stream.split("+"))
        for i in range(2)
        for stream in layer
    ]


def test_other_readers_of_gguf_can_look_at_it(model: Path) -> None:
    packed = pack(model).path
    ours = packed_tensors(packed)
    theirs = {str(tensor.name): tensor.data.view(np.uint8) for tensor in GGUFReader(packed).tensors}
    assert list(theirs) == list(ours)
    for name, data in ours.items():
        np.testing.assert_array_equal(theirs[name], data)


def test_packing_again_gives_the_same_file(model: Path) -> None:
    packed = pack(model, threads=1).path
    first = packed.read_bytes()
    assert pack(model, threads=3).path.read_bytes() == first


def test_programs_that_share_nothing_with_it_still_run(model: Path) -> None:
    """Unfused, gate and up are matrices of their own, which the file does not have."""
    with Engine(model, device="cpu") as engine:
        before = engine.trace(TOKENS, fused=False)
    pack(model)
    with Engine(model, device="cpu") as engine:
        after = engine.trace(TOKENS, fused=False)
    np.testing.assert_array_equal(after["logits"], before["logits"])


def test_progress_goes_to_the_end(model: Path) -> None:
    seen: list[tuple[int, int]] = []
    pack(model, progress=lambda done, total: seen.append((done, total)))
    tensors = packed_tensors(model.with_name("tiny.gguf.packed"))
    total = sum(data.nbytes for data in tensors.values())
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def touch(model: Path, packed: Path) -> None:
    stat = model.stat()
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def lengthen(model: Path, packed: Path) -> None:
    stat = model.stat()
    with open(model, "ab") as file:
        file.write(bytes(32))
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))


STALE = {
    "another time": touch,
    "another size": lengthen,
    "another layout": lambda model, packed: rewrite(
        packed, {"smelt.packed.layout": _cpu.packed_layout + 1}, packed_tensors(packed)
    ),
    "values of other types": lambda model, packed: rewrite(
        packed,
        {"smelt.packed.source": np.arange(3), "smelt.packed.layout": ["1", "2"]},
        packed_tensors(packed),
    ),
    "another architecture": lambda model, packed: rewrite(
        packed, {"general.architecture": np.arange(3)}, packed_tensors(packed)
    ),
}


@pytest.mark.parametrize("change", STALE.values(), ids=list(STALE))
def test_a_file_that_belongs_to_something_else_is_not_used(
    model: Path, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    before = logits(model)
    packed = pack(model).path
    rewrite(packed, {}, with_other_scales(packed_tensors(packed)))
    change(model, packed)
    with caplog.at_level(logging.WARNING, "smelt"):
        np.testing.assert_array_equal(logits(model), before)
    assert [record.message for record in caplog.records] == [
        f"{packed} was made of another tiny.gguf, or for another version of smelt, and is not "
        "used; `smelt pack` makes it anew"
    ]


@pytest.mark.parametrize("n_bytes", [0, 3, 40, 3000])
def test_a_damaged_file_is_not_used(
    model: Path, caplog: pytest.LogCaptureFixture, n_bytes: int
) -> None:
    before = logits(model)
    packed = pack(model).path
    os.truncate(packed, n_bytes)
    with caplog.at_level(logging.WARNING, "smelt"):
        np.testing.assert_array_equal(logits(model), before)
    (record,) = caplog.records
    assert re.match(rf"{packed}: .*; smelt packs the model again", record.message)


def test_a_folder_of_that_name_is_not_used(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    model.with_name("tiny.gguf.packed").mkdir()
    with caplog.at_level(logging.WARNING, "smelt"):
        logits(model)
    assert "smelt packs the model again" in caplog.text


def shorter(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: data[:-1] for name, data in tensors.items()}


def longer(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.append(data, np.uint8(0)) for name, data in tensors.items()}


def none(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"something": np.zeros(64, np.uint8)}


@pytest.mark.parametrize("change", [shorter, longer, none])
def test_streams_of_other_sizes_are_packed_instead(model: Path, change: Any) -> None:
    """Kernels never read beyond what is mapped, whatever the file says of itself."""
    before = logits(model)
    packed = pack(model).path
    rewrite(packed, {}, change(with_other_scales(packed_tensors(packed))))
    np.testing.assert_array_equal(logits(model), before)


def test_streams_between_lines_are_packed_instead(model: Path) -> None:
    before = logits(model)
    packed = pack(model).path
    tensors = with_other_scales(packed_tensors(packed))
    # one stream after 16 bytes of something else: with an alignment of 16 it begins between lines
    shifted = {"something": np.zeros(16, np.uint8), **tensors}
    rewrite(packed, {"general.alignment": 16}, shifted)
    with GGUFFile(packed) as file:
        assert all(file.tensors[name].data.ctypes.data % 64 for name in tensors)
    np.testing.assert_array_equal(logits(model), before)


def test_a_split_model(tmp_path: Path) -> None:
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    before = logits(whole)
    first = split(whole, tmp_path / "model.gguf")
    packed = pack(first).path
    assert packed.name == "model-00001-of-00002.gguf.packed"
    np.testing.assert_array_equal(logits(first), before)
    rewrite(packed, {}, with_other_scales(packed_tensors(packed)))
    assert np.abs(logits(first) - before).max() > 0.1
    touch(first.with_name("model-00002-of-00002.gguf"), packed)
    np.testing.assert_array_equal(logits(first), before)


def split(whole: Path, path: Path) -> Path:
    """The same model in two files; the first one's path."""
    reader = GGUFReader(whole)
    writer = GGUFWriter(path, "llama", split_max_tensors=len(reader.tensors) // 2 + 1)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(str(tensor.name), tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return min(path.parent.glob("model-*.gguf"))


def test_somebody_elses_file_stays(model: Path) -> None:
    other = model.with_name("tiny.gguf.packed")
    other.write_text("mine")
    with pytest.raises(FileExistsError, match="Not packed matrices, or damaged"):
        pack(model)
    assert other.read_text() == "mine"


def test_a_model_without_quantised_matrices_has_nothing_to_pack(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "f16.gguf", "f16")
    with pytest.raises(UnsupportedModelError, match=r"f16\.gguf: .*nothing to pack"):
        pack(path)
    assert os.listdir(tmp_path) == ["f16.gguf"]


def test_it_is_no_model(model: Path) -> None:
    packed = pack(model).path
    with pytest.raises(UnsupportedModelError, match=r"packed: expected a model, found what `smelt"):
        Engine(packed)


# Of two matrices of every format that share a stream, from bytes that follow from their place.
# Where one of these changes, files that users have would be misread: count PACKED_LAYOUT up.
LAYOUTS = {1: "edbda6692ff45e377612ed4f7774d1dc"}


def test_the_layout_is_what_its_number_says() -> None:
    digest = hashlib.blake2b(digest_size=16)
    for name in PACKABLE:
        data = (np.arange(2 * 24 * FORMATS[name].row_bytes(512)) * 40503 >> 7).astype(np.uint8)
        r = Recorder(make_config(), {}, 32)
        x = r.embed("x", Weight("table", (1, 512), "f32", np.zeros(512 * 4, np.uint8)))
        h = r.rms_norm("h", x, Weight("gain", (512,), "f32", np.zeros(512 * 4, np.uint8)), 0.0)
        gate, up = (
            r.matmul(part, h, Weight(part, (24, 512), name, half))
            for part, half in zip(("gate", "up"), np.split(data, 2), strict=True)
        )
        r.mul("product", r.silu("silu", gate), up)
        program = build(r.ops, 1, 1)
        device = Device(1)
        device.pack(program, tables(program))
        for stream, packed in device.packed_streams(program):
            assert stream == "gate+up"
            digest.update(f"{name} {stream} {packed.nbytes}".encode() + packed.tobytes())
    assert LAYOUTS[_cpu.packed_layout] == digest.hexdigest()
