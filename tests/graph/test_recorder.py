"""The Recorder: a wrong shape is refused when it is recorded, and the message names it."""

from __future__ import annotations

import pytest
from sketch import CONFIG, D_MODEL, HEAD_DIM, HEADS, KV_HEADS, Sketch, kinds, weight

from smelt.errors import ModelFormatError, SmeltError, UnsupportedModelError
from smelt.graph.ops import Recorder, Value


def test_what_a_llama_block_records() -> None:
    r = Sketch()
    with r.layer(3) as prefix:
        assert prefix == "blk.3."
        h = r.norm(r.x, f"{prefix}norm")
        q, k, v = (r.heads(h, n, name) for name, n in (("q", HEADS), ("k", 2), ("v", 2)))
        r.attention(prefix, q, k, v, 0.5, KV_HEADS)
    r.norm(r.x, "behind")
    assert kinds(r.ops) == [
        "embed",
        "rms_norm",
        *["matmul"] * 3,
        "kv_write",
        "attention_scores",
        "softmax",
        "attention_mix",
        "rms_norm",
    ]
    assert [op.layer for op in r.ops] == [-1, *[3] * 8, -1]
    scores = r.ops[6].outputs[0]
    assert scores.shape == (HEADS, r.capacity) and scores.name == "blk.3.kq"
    assert r.ops[7].params["scale"] == 0.5


def test_values_inherit_their_rows() -> None:
    r = Sketch()
    picked = r.select("picked", r.x)
    assert (r.x.rows, picked.rows) == ("tokens", "logits")
    assert r.linear(r.norm(picked), 5).rows == "logits"


@pytest.mark.parametrize("kind", ["silu", "gelu", "sigmoid", "tanh", "relu", "scale"])
def test_ops_of_one_operand_keep_its_shape(kind: str) -> None:
    r = Sketch()
    x = r.heads(r.select("picked", r.x), HEADS, "q")
    y = r.scale("y", x, 0.25) if kind == "scale" else getattr(r, kind)("y", x)
    assert (y.shape, y.rows) == (x.shape, "logits")
    assert (r.ops[-1].kind, r.ops[-1].inputs, r.ops[-1].weights) == (kind, (x,), ())
    assert r.ops[-1].params == ({"scale": 0.25} if kind == "scale" else {})


@pytest.mark.parametrize("has_bias", [False, True])
def test_what_a_layer_norm_records(has_bias: bool) -> None:
    r = Sketch()
    gain, bias = weight("gain", D_MODEL), weight("bias", D_MODEL) if has_bias else None
    r.layer_norm("y", r.x, gain, bias, 1e-6)
    assert r.ops[-1].weights == (gain, bias) and r.ops[-1].params == {"eps": 1e-6}


def test_width() -> None:
    assert Value("v", (3, 5, 2)).width == 30
    assert Value("v", ()).width == 1


def test_weight_of_the_wrong_shape() -> None:
    r = Recorder(CONFIG, {"w": weight("w", 3, 4)}, 64)
    assert r.weight("w", 3, 4).shape == (3, 4)
    for shape in ((4, 3), (3, 5), (12,), (3, 4, 1)):
        with pytest.raises(ModelFormatError) as caught:
            r.weight("w", *shape)
        assert "tensor w" in str(caught.value)
        assert str(shape) in str(caught.value) and "(3, 4)" in str(caught.value)


def test_missing_weight() -> None:
    r = Recorder(CONFIG, {}, 64)
    assert r.optional_weight("w", 3, 4) is None
    with pytest.raises(ModelFormatError, match=r"tensor w is missing.*\(3, 4\)"):
        r.weight("w", 3, 4)


@pytest.mark.parametrize("format", ["f16", "bf16", "q8_0"])
def test_vectors_are_float32(format: str) -> None:
    r = Recorder(CONFIG, {"v": weight("v", 32, format=format)}, 64)
    with pytest.raises(UnsupportedModelError, match=f"tensor v.*{format.upper()}"):
        r.weight("v", 32)


def test_a_norm_of_heads_or_of_rows() -> None:
    r = Sketch()
    q = r.heads(r.x, HEADS, "q")
    for n in (HEAD_DIM, HEADS * HEAD_DIM):
        assert r.rms_norm("y", q, weight("gain", n), 1e-6).shape == (HEADS, HEAD_DIM)


WRONG = {
    "rms_norm": lambda r: r.rms_norm("here", r.x, weight("gain", D_MODEL + 1), 1e-5),
    "rms_norm of two heads": lambda r: r.rms_norm(
        "here", r.heads(r.x, HEADS, "q"), weight("gain", 2 * HEAD_DIM), 1e-5
    ),
    "rms_norm with a matrix": lambda r: r.rms_norm("here", r.x, weight("gain", 2, D_MODEL), 1e-5),
    "layer_norm": lambda r: r.layer_norm("here", r.x, weight("gain", D_MODEL + 1), None, 1e-5),
    "layer_norm with a matrix": lambda r: r.layer_norm(
        "here", r.x, weight("gain", 2, D_MODEL), None, 1e-5
    ),
    "layer_norm's bias": lambda r: r.layer_norm(
        "here", r.x, weight("gain", D_MODEL), weight("b", D_MODEL - 1), 1e-5
    ),
    "layer_norm with a matrix of biases": lambda r: r.layer_norm(
        "here", r.x, weight("gain", D_MODEL), weight("b", 2, D_MODEL), 1e-5
    ),
    "matmul": lambda r: r.matmul("here", r.x, weight("w", 5, D_MODEL - 1)),
    "matmul with a vector": lambda r: r.matmul("here", r.x, weight("w", D_MODEL)),
    "matmul's bias": lambda r: r.matmul("here", r.x, weight("w", 5, D_MODEL), weight("b", 4)),
    "matmul with a matrix of biases": lambda r: r.matmul(
        "here", r.x, weight("w", 5, D_MODEL), weight("b", 2, 5)
    ),
    "matmul's heads": lambda r: r.matmul("here", r.x, weight("w", 30, D_MODEL), shape=(4, 8)),
    "embed with a vector": lambda r: r.embed("here", weight("table", D_MODEL)),
    "add": lambda r: r.add("here", r.x, r.linear(r.x, D_MODEL + 1)),
    "mul": lambda r: r.mul("here", r.x, r.linear(r.x, D_MODEL - 1)),
    "add of tokens and logits": lambda r: r.add("here", r.x, r.select("picked", r.x)),
    "mul of logits and tokens": lambda r: r.mul("here", r.select("picked", r.x), r.x),
    "select of what is selected": lambda r: r.select("here", r.select("picked", r.x)),
    "rope_table of a matrix": lambda r: r.rope_table("here", weight("f", 2, 4, format="f64"), 1.0),
    "rope_table in float32": lambda r: r.rope_table("here", weight("f", 4), 1.0),
    "rope beyond the head": lambda r: r.rope(
        "here", r.heads(r.x, HEADS, "q"), r.table(HEAD_DIM + 2), False
    ),
    "rope without heads": lambda r: r.rope("here", r.x, r.table(), False),
    "rope of selected rows": lambda r: r.rope(
        "here", r.heads(r.select("picked", r.x), HEADS, "q"), r.table(), False
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refused(wrong: str) -> None:
    r = Sketch()
    with pytest.raises(SmeltError, match="here"):
        WRONG[wrong](r)


@pytest.mark.parametrize(
    ("q", "k", "v", "n_kv_heads"),
    [
        ((4, 8), (2, 8), (2, 8), 1),
        ((4, 8), (2, 8), (2, 8), 4),
        ((4, 8), (2, 8), (2, 8), 0),
        ((4, 8), (2, 6), (2, 6), 2),
        ((4, 8), (2, 8), (2, 6), 2),
        ((4, 8), (2, 8), (1, 8), 2),
        ((4, 8), (3, 8), (3, 8), 3),
        ((2, 8), (4, 8), (4, 8), 4),
        ((32,), (2, 8), (2, 8), 2),
    ],
)
def test_attention_refused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], n_kv_heads: int
) -> None:
    r = Sketch()
    with pytest.raises(ModelFormatError, match=r"blk\.7\.attention"):
        r.attention("blk.7.", Value("q", q), Value("k", k), Value("v", v), 1.0, n_kv_heads)
    assert kinds(r.ops) == ["embed"]
