"""smelt.quantize: whole files, on the small models of the other tests and on the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

import smelt
from gguf_bytes import STRING, UINT16, numbers, pair, string
from gguf_bytes import gguf as gguf_bytes
from gguf_bytes import tensor as descriptor
from smelt import Engine, QuantisationError, quantize
from smelt.formats import FORMATS, decode_native
from smelt.gguf_file import GGUFFile
from smelt.gguf_writer import NewTensor, write_gguf
from smelt.mixtures import MIXTURES
from tiny_model import write_tiny_llama


@pytest.fixture(scope="module", params=["f32", "f16", "bf16"])
def floats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in each of the formats that can be quantised."""
    path = tmp_path_factory.mktemp("floats") / f"{request.param}.gguf"
    return write_tiny_llama(path, format=request.param)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose rows fit no block of 256 in attention, and none of 32 in ffn_down."""
    path = tmp_path_factory.mktemp("model") / "f32.gguf"
    return write_tiny_llama(path, format="f32", d_model=96, d_ff=172)


def one_tensor(path: Path, weights: np.ndarray, format: str = "f32", **metadata: object) -> Path:
    """A file with one matrix of these weights."""
    raw = smelt.formats.encode_native(FORMATS[format], np.zeros_like(weights))
    if format == "f32":  # also for what encode_native refuses
        raw = np.ascontiguousarray(weights).view(np.uint8)
    entry = NewTensor.of("blk.0.attn_q.weight", weights.shape, FORMATS[format])
    write_gguf(path, {"general.architecture": "llama", **metadata}, [entry], [raw])
    return path


@pytest.mark.parametrize("mixture", MIXTURES)
def test_every_mixture(floats: Path, tmp_path: Path, mixture: str) -> None:
    """The file holds what the result says, and the decoded weights are near the original ones."""
    path = tmp_path / "out.gguf"
    result = quantize(floats, path, mixture)
    with GGUFFile(floats) as before, GGUFFile(path) as after:
        assert list(after.tensors) == list(before.tensors)
        for name, tensor in after.tensors.items():
            old = before.tensors[name]
            assert tensor.shape == old.shape
            assert result.formats[name] == (old.format, tensor.format)
            x = decode_native(FORMATS[old.format], old.data)
            y = decode_native(FORMATS[tensor.format], tensor.data)
            assert np.linalg.norm(y - x) <= 0.3 * np.linalg.norm(x)
            if tensor.format == old.format:
                np.testing.assert_array_equal(tensor.data, old.data)
        assert result.bytes_before == sum(t.nbytes for t in before.tensors.values())
        assert result.bytes_after == sum(t.nbytes for t in after.tensors.values())
        main = [t for t in after.tensors.values() if t.format == MIXTURES[mixture].format]
        assert any(tensor.name.endswith("attn_q.weight") for tensor in main)
    assert result.fallbacks == []


def test_metadata_are_kept(model: Path, tmp_path: Path) -> None:
    quantize(model, tmp_path / "out.gguf", "q5_k_s")
    with GGUFFile(model) as before, GGUFFile(tmp_path / "out.gguf") as after:
        for key in before.metadata:
            assert after.metadata.raw(key) == before.metadata.raw(key)
        new = {"general.file_type": 16, "general.quantization_version": 2}
        assert {key: after.metadata[key] for key in after.metadata.keys() - before.metadata} == new


def test_gguf_reads_the_file(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.gguf"
    quantize(model, path, "Q4_K_M")
    with GGUFFile(path) as file:
        for tensor in gguf.GGUFReader(path).tensors:
            ours = file.tensors[tensor.name]
            decoded = decode_native(FORMATS[ours.format], ours.data).reshape(ours.shape)
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(decoded, expected)


def test_the_model_runs(floats: Path, tmp_path: Path) -> None:
    """Logits of the Q8_0 file are those of the original, but for the error of 8 bits."""
    quantize(floats, tmp_path / "out.gguf", "Q8_0")
    ids = [1, 300, 301, 302, 303]
    with Engine(floats) as before, Engine(tmp_path / "out.gguf") as after:
        a, b = before.logits(ids), after.logits(ids)
    assert np.linalg.norm(b - a) < 0.05 * np.linalg.norm(a)
    assert np.linalg.norm(b - a) > 0


@pytest.mark.parametrize("mixture", ["Q4_K_M", "Q3_K_S", "Q8_0"])
def test_the_number_of_threads_changes_nothing(tmp_path: Path, mixture: str) -> None:
    weights = np.random.default_rng(0).standard_normal((1031, 768)).astype(np.float32)
    source = one_tensor(tmp_path / "in.gguf", weights)  # 13 chunks, the last one short
    files = []
    for threads in (1, 2, 5):
        path = tmp_path / f"{threads}.gguf"
        quantize(source, path, mixture, threads=threads)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    with GGUFFile(path) as file:
        (tensor,) = file.tensors.values()
        whole = smelt.formats.encode_native(FORMATS[tensor.format], weights)
        np.testing.assert_array_equal(tensor.data, whole.ravel())


def test_rows_that_fit_no_block(model: Path, tmp_path: Path) -> None:
    result = quantize(model, tmp_path / "out.gguf", "Q4_K_S")
    assert result.formats["blk.0.attn_q.weight"] == ("f32", "q5_0")
    assert result.formats["blk.0.attn_v.weight"] == ("f32", "q5_1")
    assert result.formats["blk.0.ffn_down.weight"] == ("f32", "f16")
    assert result.formats["blk.0.attn_norm.weight"] == ("f32", "f32")
    assert "blk.1.ffn_down.weight" in result.fallbacks
    with Engine(tmp_path / "out.gguf") as engine:
        assert np.isfinite(engine.logits([1, 2, 3])).all()


def test_progress_counts_weights(model: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    quantize(model, tmp_path / "out.gguf", progress=lambda *call: calls.append(call))
    done, totals = zip(*calls, strict=True)
    assert done[0] == 0
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}
    with GGUFFile(model) as file:
        assert done[-1] == sum(np.prod(t.shape) for t in file.tensors.values() if len(t.shape) > 1)


@pytest.mark.parametrize("alignment", [8, 256])
def test_alignment_is_kept(tmp_path: Path, alignment: int) -> None:
    source = tmp_path / "in.gguf"
    weights = np.ones((3, 32), np.float32)
    entries = [NewTensor.of(f"blk.{i}.attn_q.weight", (3, 32), FORMATS["f32"]) for i in range(3)]
    data = [weights.view(np.uint8)] * 3
    write_gguf(source, {"general.alignment": alignment}, entries, data, alignment=alignment)
    quantize(source, tmp_path / "out.gguf", "Q4_0")
    with GGUFFile(tmp_path / "out.gguf") as file:
        assert file.alignment == alignment
        assert all(tensor.offset % alignment == 0 for tensor in file.tensors.values())


def test_the_parts_of_a_split_model_become_one_file(tmp_path: Path) -> None:
    for number in range(2):
        pairs = [pair("split.no", UINT16, numbers(UINT16, number))]
        pairs.append(pair("split.count", UINT16, numbers(UINT16, 2)))
        pairs.append(pair("general.name", STRING, string("split")))
        data = np.full((2, 32), 1.0 + number, "<f4").tobytes()
        tensors = [descriptor(f"blk.{number}.attn_q.weight", [32, 2], 0, 0)]
        path = tmp_path / f"model-{number + 1:05d}-of-00002.gguf"
        path.write_bytes(gguf_bytes(pairs, tensors, data))
    out = tmp_path / "whole.gguf"
    quantize(tmp_path / "model-00001-of-00002.gguf", out, "Q8_0")
    with GGUFFile(out) as file:
        assert file.paths == [out]
        assert list(file.tensors) == ["blk.0.attn_q.weight", "blk.1.attn_q.weight"]
        assert [key for key in file.metadata if key.startswith("split.")] == []
        for value, tensor in zip((1, 2), file.tensors.values(), strict=True):
            decoded = decode_native(FORMATS["q8_0"], tensor.data)
            np.testing.assert_allclose(decoded, value, rtol=1e-3)


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e30, "1e+30")])
@pytest.mark.parametrize("mixture", ["Q4_K_M", "Q4_1", "F16"])
def test_weights_that_have_no_place(tmp_path: Path, value: float, shown: str, mixture: str) -> None:
    weights = np.ones((300, 512), np.float32)  # the second chunk of three
    weights[200, 77] = value
    weights[201, 5] = 60000
    source = one_tensor(tmp_path / "in.gguf", weights)
    with pytest.raises(QuantisationError) as caught:
        quantize(source, tmp_path / "out.gguf", mixture)
    message = str(caught.value)
    assert message.startswith(f"{source}: tensor 'blk.0.attn_q.weight': expected finite weights")
    assert message.endswith(f"found {value if shown == '1e+30' else shown} at [200, 77]")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.gguf"]


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.ones((2, 256), np.float32), "q8_0")
    with pytest.raises(QuantisationError, match=r"in.gguf: tensor 'blk.0.attn_q.weight': .* q8_0"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M")
    quantize(source, tmp_path / "out.gguf", "Q8_0")  # nothing is lost where they stay as they are
    with GGUFFile(source) as a, GGUFFile(tmp_path / "out.gguf") as b:
        key = "blk.0.attn_q.weight"
        np.testing.assert_array_equal(a.tensors[key].data, b.tensors[key].data)


def test_a_vocabulary_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "in.gguf", {"general.architecture": "llama"}, [], [])
    with pytest.raises(QuantisationError, match="expected weight matrices, found none"):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf")


def test_a_tensor_of_unknown_size_is_refused(tmp_path: Path) -> None:
    tensors = [descriptor("blk.0.attn_q.weight", [32, 2], 0, 0), descriptor("odd", [7], 99, 256)]
    (tmp_path / "in.gguf").write_bytes(gguf_bytes([], tensors, bytes(512)))
    with pytest.raises(QuantisationError, match="'odd': expected a format whose size is known"):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf")


def test_an_unknown_mixture_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantisationError, match=r"Q4_K_M, .* found 'Q4_K_XL'"):
        quantize(model, tmp_path / "out.gguf", "Q4_K_XL")


def test_files_are_not_overwritten_unless_told_so(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match="--force"):
        quantize(model, out)
    assert out.read_text() == "mine"
    quantize(model, out, overwrite=True)
    with GGUFFile(out) as file:
        assert file.tensors


def test_the_input_is_never_overwritten(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    before = model.read_bytes()
    for target in (model, link):
        with pytest.raises(FileExistsError, match="cannot be the one to be written"):
            quantize(model, target, overwrite=True)
    assert model.read_bytes() == before


def test_a_folder_that_is_not_there(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "absent" / "out.gguf"
    with pytest.raises(FileNotFoundError) as caught:
        quantize(model, target)
    assert caught.value.filename == str(target)
    with pytest.raises(FileExistsError, match="something else"):
        quantize(model, tmp_path, overwrite=True)


def test_a_full_disk_leaves_what_was_there(model: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing beyond it fails alike."""
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    program = (
        "import resource, sys; from smelt import quantize\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "try: quantize(sys.argv[1], sys.argv[2], 'Q8_0', overwrite=True)\n"
        "except OSError as error: print(error.errno, error.filename)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", program, str(model), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == [str(out)]
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_an_interruption_leaves_nothing(model: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(model, tmp_path / "out.gguf", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
