"""qwen2 and qwen3: what they record, and that files as their makers write them load and generate.

That their numbers are right is for tests/backends (beside the reference, on every device) and
tests/oracle/test_llama_cpp.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smelt import Engine
from smelt.errors import ModelFormatError
from smelt.graph.ops import Recorder
from smelt.model import Model
from smelt.models import architecture
from tiny_model import QWEN_SPECIALS, write_tiny_llama

QWENS = ["qwen2", "qwen3"]
SMALL: dict[str, Any] = {"format": "q8_0", "d_model": 64, "d_ff": 96}


@pytest.fixture(scope="module", params=QWENS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of either: tied, heads wider than d_model / n_heads, a stretched context."""
    name = request.param
    return write_tiny_llama(
        tmp_path_factory.mktemp("qwen") / f"{name}.gguf",
        architecture=name, head_dim=32, tied=True, rope_scaling="yarn", **SMALL,
    )  # fmt: skip


def test_every_tensor_is_used(path: Path) -> None:
    model = Model(path)
    used = {w.name for op in model.record(64) for w in op.weights if w is not None}
    assert used == {*model.weights, "inv_freq"}
    own = "attn_q.bias" if "qwen2" in path.name else "attn_q_norm.weight"
    assert f"blk.1.{own}" in used


def test_the_pairs_of_a_rotation_lie_half_a_head_apart(path: Path) -> None:
    ropes = [op for op in Model(path).record(64) if op.kind == "rope"]
    assert [op.params["neox"] for op in ropes] == [1] * 4
    assert {op.params["rotary_dim"] for op in ropes} == {32}


def test_a_layer_is_six_dispatches(path: Path) -> None:
    """As many as a Llama's: Qwen3's norms of heads go into the turning."""
    kinds = [op.kind for op in Model(path).program(64, 8).ops if op.layer == 1]
    assert kinds == [
        *("norm_matmul", "rope_kv_write", "attention"),
        *("matmul_add", "norm_gate_up", "matmul_add"),
    ]


def test_the_norms_of_heads_come_before_the_turning(tmp_path: Path) -> None:
    model = Model(write_tiny_llama(tmp_path / "m.gguf", architecture="qwen3", **SMALL))
    ops = model.record(64)
    made = {value: op for op in ops for value in op.outputs}
    norms = [made[op.inputs[0]] for op in ops if op.kind == "rope"]
    assert [made[norm.inputs[0]].kind for norm in norms] == ["matmul"] * 4
    gains = [w.name for norm in norms for w in norm.weights if w is not None]
    assert gains == [f"blk.{i}.attn_{part}_norm.weight" for i in (0, 1) for part in "qk"]


@pytest.mark.parametrize("part", ["q", "k"])
def test_a_gain_that_is_missing_or_too_long(tmp_path: Path, part: str) -> None:
    model = Model(write_tiny_llama(tmp_path / "m.gguf", architecture="qwen3", **SMALL))
    name = f"blk.1.attn_{part}_norm.weight"
    rest = {key: value for key, value in model.weights.items() if key != name}
    long = model.weights | {name: replace(model.weights[name], shape=(64,))}
    for weights, said in ((rest, f"tensor {name} is missing"), (long, r"\(16,\), found \(64,\)")):
        with pytest.raises(ModelFormatError, match=said):
            architecture("qwen3")(Recorder(model.config, weights, 64))


def test_a_file_generates(path: Path) -> None:
    """No BOS goes before a text, a turn's marks are tokens, and its end ends a generation."""
    with Engine(path) as engine:
        tokenizer = engine.tokenizer
        first, *_ = engine.tokenize("the cat")
        assert tokenizer.decode([first]) == "th" and not tokenizer.add_bos
        assert tokenizer.chat_template and "<|im_start|>" in tokenizer.chat_template
        marks = [engine.tokenize(mark, parse_special=True) for mark in QWEN_SPECIALS]
        assert [len(ids) for ids in marks] == [1, 1, 1]
        end = marks[2]
        assert set(end) <= tokenizer.eog_ids
        done = engine.generate("the cat and the ", max_tokens=8, logit_bias={end[0]: -100.0})
        assert len(done.token_ids) == 8 and done.finish_reason == "length"
        ended = engine.generate("the cat", max_tokens=8, logit_bias={end[0]: 100.0})
        assert (ended.text, ended.finish_reason) == ("", "stop")
