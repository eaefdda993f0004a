"""The logit lens: its last row is the model's own answer, the others the definition's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metal_device import need_metal_device
from small_engine import SMALL, prompt_ids
from smelt import Engine
from smelt.errors import UnsupportedModelError
from smelt.graph.ops import Op, Value
from smelt.report.depth import added_values, stream_values
from smelt.report.lens import Lens, decode_streams, logit_lens
from tiny_model import write_tiny_llama


def streams_of(engine: Engine, ids: list[int]) -> list[np.ndarray]:
    names = [value.name for value in stream_values(engine.model.record(len(ids)))]
    run = engine.trace(ids, pattern=names, fused=False)
    return [run[name] for name in names]


def test_names(engine: Engine) -> None:
    ops = engine.model.record(8)
    assert [v.name for v in stream_values(ops)] == ["embed", "blk.0.out", "blk.1.out"]
    assert [(a.name, f.name) for a, f in added_values(ops)] == [
        (f"blk.{layer}.attn_out", f"blk.{layer}.ffn_out") for layer in (0, 1)
    ]


def test_a_layer_that_adds_once_has_no_such_picture() -> None:
    x, h, y = Value("x", (4,)), Value("h", (4,)), Value("y", (4,))
    ops = [
        Op("embed", (), (x,)),
        Op("silu", (x,), (h,), layer=0),
        Op("add", (h, x), (y,), layer=0),
    ]
    with pytest.raises(UnsupportedModelError, match="found 1 additions"):
        added_values(ops)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 65])  # a page of the cache holds 32
@pytest.mark.parametrize("tied", [False, True])
def test_the_last_row_is_the_model_s_own_answer(tmp_path: Path, n: int, tied: bool) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", **SMALL, tied=tied)
    with Engine(path, threads=2) as engine:
        ids = prompt_ids(n)
        run = engine.trace(ids, pattern=["blk.1.out", "logits"], fused=False)
        (logits,) = decode_streams(engine, [run["blk.1.out"]])
        # the same kernels on the same numbers: the CPU gives the same bits, fused or not
        np.testing.assert_array_equal(logits, run["logits"])
        lens = logit_lens(engine, [run["blk.1.out"]], ids)
        assert lens.tokens[-1].tolist() == run["logits"].argmax(axis=1).tolist()


def test_every_row_is_norm_and_output_matrix(path: Path) -> None:
    ids = prompt_ids(7)
    with Engine(path, device="reference") as engine:
        streams = streams_of(engine, ids)
        found = list(decode_streams(engine, streams))
        lens = logit_lens(engine, streams, ids)
        decoded = engine._device.decoded  # type: ignore[attr-defined]
        gain = decoded(engine.model.weights["output_norm.weight"]).astype(np.float64)
        output = decoded(engine.model.weights["output.weight"]).astype(np.float64)
        eps = engine.config.norm_eps
    assert lens.tokens.shape == (3, 7) and lens.read == tuple(ids)
    for row, stream in enumerate(streams):
        x = stream.astype(np.float32).astype(np.float64)  # as the table of rows holds it
        expected = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + eps) * gain @ output.T
        np.testing.assert_allclose(found[row], expected, rtol=1e-9, atol=1e-9)
        p = np.exp(expected - expected.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        assert lens.tokens[row].tolist() == p.argmax(axis=1).tolist()
        np.testing.assert_allclose(lens.probabilities[row], p.max(axis=1), rtol=1e-7)


def test_a_gpu_has_it_too(path: Path) -> None:
    need_metal_device()
    ids = prompt_ids(5)
    with Engine(path, device="metal") as engine:
        run = engine.trace(ids, pattern=["blk.1.out", "logits"], fused=False)
        (logits,) = decode_streams(engine, [run["blk.1.out"]])
        # Fused and plain ops may add in another order: the norm and a sum of 64 products, each
        # term off by 2^-24 at most, a factor of four for what cancels between terms.
        error = np.linalg.norm(logits - run["logits"]) / np.linalg.norm(run["logits"])
        assert error < 4 * 64 * 2.0**-24


def test_the_engine_is_as_before(engine: Engine) -> None:
    ids = prompt_ids(12)
    before = engine.generate(ids, 8).token_ids
    logit_lens(engine, streams_of(engine, ids), ids)
    assert engine.generate(ids, 8).token_ids == before


def test_settled() -> None:
    tokens = np.array([[1, 5, 7], [2, 6, 7], [1, 5, 7], [1, 6, 7]])
    lens = Lens((0, 0, 0), tokens, np.ones(tokens.shape))
    assert lens.settled().tolist() == [2, 3, 0]
