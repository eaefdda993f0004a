"""bench/make_model.py: files of the shapes it names, in every format, that smelt runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smelt import Engine
from smelt.formats import FORMATS
from smelt.gguf_file import GGUFFile
from smelt.mixtures import MIXTURES
from smelt.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import make_model

TINY = {
    "llama": make_model.SHAPES["tiny"],
    "qwen3": replace(make_model.SHAPES["qwen3-4b"], n_layers=2, d_model=256, d_ff=512, n_heads=4,
                     n_kv_heads=2, n_vocab=1024),
}  # fmt: skip
LARGE = {  # weights in all, as the models' cards say
    "tinyllama": 1.10e9,
    "llama-3-8b": 8.03e9,
    "qwen3-0.6b": 0.596e9,
    "qwen3-4b": 4.02e9,
}


@pytest.mark.parametrize("name", LARGE)
def test_sizes_of_the_real_models(name: str) -> None:
    shapes = dict(make_model.tensor_shapes(make_model.SHAPES[name]))
    assert sum(np.prod(dims) for dims in shapes.values()) == pytest.approx(LARGE[name], rel=0.005)


@pytest.mark.parametrize("format", FORMATS)
def test_random_blocks_have_the_wanted_size(format: str) -> None:
    """The codes -8 to 7 of Q4_0 have a mean of -0.5, 0.11 of their deviation of 4.6."""
    n = 1024 * 256
    blocks = make_model.random_blocks(format, n, 0.02, np.random.default_rng(1))
    assert blocks.nbytes == FORMATS[format].row_bytes(n)
    weights = FORMATS[format].decode(blocks)
    assert weights.std() == pytest.approx(0.02, rel=0.05) and abs(weights.mean()) < 0.003


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize("mixture", [*MIXTURES, "F32", "IQ4_XS"])
def test_a_model_runs(shape: str, mixture: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    make_model.write(str(path), TINY[shape], mixture)
    config = Model(path).config
    assert (config.architecture, config.tied) == (shape, shape == "qwen3")
    with Engine(path, device="cpu") as engine:
        ids = engine.tokenize("once upon")
        assert engine.tokenizer.decode(ids) == "once upon"
        logits = engine.logits([5, 6, 7])
    assert np.isfinite(logits).all() and 0.1 < logits.std() < 10


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    raw = []
    for i, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{i}.gguf"
        make_model.write(str(path), TINY["qwen3"], "Q4_K_M", seed)
        raw.append(path.read_bytes())
    assert raw[0] == raw[1] != raw[2]


def test_a_mixture_is_that_of_a_real_file(tmp_path: Path) -> None:
    """Tied embeddings are the output matrix too, and get its format."""
    path = tmp_path / "model.gguf"
    make_model.write(str(path), TINY["qwen3"], "Q4_K_M")
    with GGUFFile(path) as file:
        formats = {name: tensor.format for name, tensor in file.tensors.items()}
        assert file.metadata["general.file_type"] == MIXTURES["Q4_K_M"].file_type
    assert formats["token_embd.weight"] == "q6_k" and formats["blk.1.attn_q.weight"] == "q4_k"
    assert formats["blk.0.attn_q_norm.weight"] == "f32"
