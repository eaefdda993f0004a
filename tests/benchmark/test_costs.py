"""What a model costs at least: against sums over its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smelt.benchmark import Costs, Work
from smelt.limits import Limits
from smelt.model import Model
from tiny_model import write_tiny_llama

LAYERS, D, HEADS, KV_HEADS, HEAD_DIM, FF, VOCAB = 2, 256, 4, 2, 64, 512, 384
MATRICES = LAYERS * (2 * D * D + 2 * D * KV_HEADS * HEAD_DIM + 3 * D * FF)  # weights
KV_BYTES = 2 * 2 * LAYERS * KV_HEADS * HEAD_DIM


def costs(path: Path, fused: bool = True, **options: Any) -> Costs:
    model = Model(write_tiny_llama(path / "tiny.gguf", **options))
    return Costs(model.program(128, 32, fused=fused), KV_BYTES)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("format", "bits"), [("q8_0", 8.5), ("q4_k", 4.5), ("f16", 16)])
def test_a_token(tmp_path: Path, format: str, bits: float, fused: bool) -> None:
    found = costs(tmp_path, fused, format=format)
    assert found.step == Work(bytes=(MATRICES + D * VOCAB) * bits / 8)
    kind = "floating" if format == "f16" else "integer"
    assert found.token == Work(**{kind: 2 * MATRICES})
    assert found.logits == Work(**{kind: 2 * D * VOCAB})
    assert found.pair == Work(floating=4 * LAYERS * HEADS * HEAD_DIM)


def test_tied_embeddings_are_read_as_the_output_matrix(tmp_path: Path) -> None:
    assert costs(tmp_path, format="q8_0", tied=True).step.bytes == (MATRICES + D * VOCAB) * 8.5 / 8


def test_decode_and_prefill(tmp_path: Path) -> None:
    found = costs(tmp_path, format="q8_0")
    step = found.decode(past=9, batch=3)
    assert step.bytes == found.step.bytes + 3 * 10 * KV_BYTES
    assert step.integer == 3 * 2 * (MATRICES + D * VOCAB)
    assert step.floating == 3 * 10 * found.pair.floating
    whole = found.prefill(prompt=40, batch=2, chunk=32)
    assert whole.bytes == 3 * found.step.bytes + 80 * KV_BYTES  # 80 tokens are three steps
    assert whole.integer == 80 * 2 * MATRICES + 2 * 2 * D * VOCAB
    assert whole.floating == 2 * sum(range(1, 41)) * found.pair.floating


def test_the_slower_of_memory_and_arithmetic() -> None:
    limits = Limits(read=10.0, fma=2.0, dot=4.0)
    assert Work(bytes=100, integer=8, floating=4).seconds(limits) == (10.0, "memory")
    assert Work(bytes=10, integer=8, floating=4).seconds(limits) == (4.0, "arithmetic")
