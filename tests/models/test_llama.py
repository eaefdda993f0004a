"""Architectures: what llama records and asks the file for, and how one is found by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import smelt.models
from smelt.errors import ModelFormatError, SmeltError, UnsupportedModelError
from smelt.graph.ops import Recorder, Weight
from smelt.model import Model
from smelt.models import architecture, architectures
from tiny_model import write_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def model_of(folder: Path, **options: Any) -> Model:
    name = "-".join(f"{key}={value}" for key, value in options.items()) or "plain"
    small: dict[str, Any] = {"d_model": 64, "d_ff": 96, "n_vocab": 300, "format": "q8_0"}
    return Model(write_tiny_llama(folder / f"{name}.gguf", **(small | options)))


def record(model: Model, weights: Mapping[str, Weight], **changes: Any) -> Recorder:
    recorder = Recorder(replace(model.config, **changes), weights, 64)
    architecture("llama")(recorder)
    return recorder


def names_in(recorder: Recorder) -> list[str]:
    return [w.name for op in recorder.ops for w in op.weights if w is not None]


def test_llama_is_found_by_its_file() -> None:
    assert architectures() == sorted(
        path.stem
        for path in Path(smelt.models.__file__).parent.glob("*.py")
        if path.stem not in ("__init__", "blocks")
    )
    assert "llama" in architectures()
    for name in architectures():
        assert list(inspect.signature(architecture(name)).parameters) == ["r"]


@pytest.mark.parametrize("name", ["", "gpt2", "blocks", "__init__", "Llama", ".llama", "os", "a.b"])
def test_unknown_architecture(name: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        architecture(name)
    assert repr(name) in str(caught.value) and "llama" in str(caught.value)


def test_file_of_an_unknown_architecture(folder: Path) -> None:
    path = write_tiny_llama(folder / "other.gguf", d_model=64, d_ff=96, format="q8_0")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"llama", b"lemur"))
    with pytest.raises(UnsupportedModelError, match="'lemur'"):
        Model(path)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_layers(folder: Path, n_layers: int) -> None:
    ops = model_of(folder, n_layers=n_layers).record(64)
    assert [op.layer for op in ops if op.kind == "kv_write"] == list(range(n_layers))
    assert [op.kind for op in ops[:2]] == ["rope_table", "embed"]
    assert [op.kind for op in ops[-3:]] == ["select", "rms_norm", "matmul"]
    names = [value.name for op in ops for value in op.outputs]
    assert len(names) == len(set(names))


def test_the_pairs_of_a_rotation_lie_side_by_side(folder: Path) -> None:
    ropes = [op for op in model_of(folder).record(64) if op.kind == "rope"]
    assert {op.params["neox"] for op in ropes} == {0}
    assert [op.params["n_heads"] for op in ropes] == [4, 2, 4, 2]


@pytest.mark.parametrize("tied", [False, True])
def test_output(folder: Path, tied: bool) -> None:
    model = model_of(folder, tied=tied)
    last = model.record(64)[-1]
    name = "token_embd.weight" if tied else "output.weight"
    assert last.weights == (model.weights[name], None)


@pytest.mark.parametrize("biases", [False, True])
def test_every_tensor_is_used(folder: Path, biases: bool) -> None:
    model = model_of(folder, biases=biases)
    used = names_in(record(model, model.weights))
    assert sorted(used) == sorted([*model.weights, "inv_freq"])


def test_single_biases(folder: Path) -> None:
    """Every bias is optional by itself: Qwen-like files have those of q, k and v alone."""
    model = model_of(folder, biases=True)
    for name in [name for name in model.weights if name.endswith(".bias")]:
        rest = {key: value for key, value in model.weights.items() if key != name}
        assert name not in names_in(record(model, rest))


def test_rope_factors_are_asked_for(folder: Path) -> None:
    plain, scaled = model_of(folder), model_of(folder, rope_freqs=True)
    (one,), (two,) = (
        [op.weights[0] for op in model.record(64) if op.kind == "rope_table"]
        for model in (plain, scaled)
    )
    assert one is not None and two is not None
    assert (one.data > two.data).all()


def all_weights(folder: Path) -> dict[str, Weight]:
    return dict(model_of(folder, rope_freqs=True, biases=True).weights)


@pytest.mark.parametrize("layer", [0, 1])
def test_each_missing_tensor_is_named(folder: Path, layer: int) -> None:
    model, weights = model_of(folder, rope_freqs=True, biases=True), all_weights(folder)
    needed = [name for name in weights if not name.endswith(".bias")]
    for name in [n for n in needed if not n.startswith(f"blk.{1 - layer}.")]:
        rest = {key: value for key, value in weights.items() if key != name}
        with pytest.raises(ModelFormatError, match=f"tensor {name} is missing"):
            record(model, rest)


def test_each_wrong_shape_is_shown(folder: Path) -> None:
    model, weights = model_of(folder, rope_freqs=True, biases=True), all_weights(folder)
    for name, weight in weights.items():
        wrong = tuple(n + 32 for n in weight.shape)
        bad = weights | {name: replace(weight, shape=wrong)}
        with pytest.raises(ModelFormatError) as caught:
            record(model, bad)
        assert name in str(caught.value)
        assert str(wrong) in str(caught.value) and str(weight.shape) in str(caught.value)


def test_each_vector_must_be_float32(folder: Path) -> None:
    model, weights = model_of(folder, rope_freqs=True, biases=True), all_weights(folder)
    for name, weight in weights.items():
        if len(weight.shape) == 1:
            with pytest.raises(UnsupportedModelError, match=f"{name}.*F16"):
                record(model, weights | {name: replace(weight, format="f16")})


def test_unsupported_format_names_tensor_and_format(folder: Path) -> None:
    path = write_tiny_llama(folder / "i8.gguf", d_model=64, d_ff=96, format="q8_0")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"blk.1.ffn_down.weight") + len("blk.1.ffn_down.weight") + 4 + 2 * 8
    assert raw[at] == 8  # Q8_0
    raw[at] = 24  # I8
    path.write_bytes(raw)
    with pytest.raises(UnsupportedModelError, match=r"blk\.1\.ffn_down\.weight.*I8"):
        Model(path)


def test_the_same_numbers_give_the_same_program(folder: Path) -> None:
    model = model_of(folder)
    one, two = ([(op.kind, dict(op.params)) for op in model.record(64)] for _ in "ab")
    assert one == two


@pytest.mark.parametrize("change", [{"n_heads": 8}, {"head_dim": 8}, {"d_ff": 64}, {"n_layers": 3}])
def test_a_config_that_does_not_fit(folder: Path, change: dict[str, int]) -> None:
    model = model_of(folder)
    with pytest.raises(SmeltError):
        record(model, model.weights, **change)
