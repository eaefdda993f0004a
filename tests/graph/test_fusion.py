"""Fusion: each rule fires on its pattern, and what it leaves is the same program."""

from __future__ import annotations

import pytest
from fusion_blocks import attention_block, check, fused_kinds, gate_up, normed_attention
from hypothesis import given, settings
from hypothesis import strategies as st
from sketch import D_MODEL, HEAD_DIM, HEADS, KV_HEADS, Sketch, kinds, weight

from smelt.graph.fusion import RULES, fuse


def test_attention_half_of_a_block() -> None:
    r = Sketch()
    attention_block(r)
    assert fused_kinds(r) == [
        "rope_table",
        "norm_matmul",
        "rope_kv_write",
        "attention",
        "matmul_add",
    ]
    rope, attention = fuse(r.ops)[3:5]
    assert rope.params["n_heads"] == HEADS and rope.params["n_kv_heads"] == KV_HEADS
    assert attention.params["scale"] == 0.5 and attention.params["n_kv_heads"] == KV_HEADS


@pytest.mark.parametrize("gain", [HEAD_DIM, None])
def test_norms_of_heads_go_into_the_turning(gain: int | None) -> None:
    """But not those of whole rows, which take all heads together (gain None)."""
    r = Sketch()
    normed_attention(r, gain_q=gain, gain_k=gain)
    turning = "rope_kv_write" if gain else "rms_norm rms_norm rope_kv_write"
    assert " ".join(fused_kinds(r)) == f"rope_table matmul matmul matmul {turning} attention"
    op = next(op for op in fuse(r.ops) if op.kind == "rope_kv_write")
    assert [w.name for w in op.weights if w] == (["q.gain", "k.gain"] if gain else [])
    assert op.params.get("eps") == (1e-5 if gain else None)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_gate_up(act: str, bias: bool) -> None:
    r = Sketch()
    gate_up(r, act, bias)
    assert fused_kinds(r) == ["norm_gate_up"]
    (op,) = fuse(r.ops)[1:]
    assert op.params == {"eps": 1e-5, "gelu": act == "gelu"}
    names = [w and w.name for w in op.weights]
    biases = ["gate.bias", "up.bias"] if bias else [None, None]
    assert names == ["norm.gain", "gate.weight", biases[0], "up.weight", biases[1]]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_norm_and_its_matmuls(n: int) -> None:
    r = Sketch()
    h = r.norm(r.x)
    outputs = [r.linear(h, 7 + i, f"y{i}", bias=i == 1) for i in range(n)]
    r.silu("end", outputs[-1])
    assert fused_kinds(r) == ["norm_matmul", "silu"]
    op = fuse(r.ops)[1]
    assert op.outputs == tuple(outputs)
    assert len(op.weights) == 1 + 2 * n and op.params["eps"] == 1e-5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_selected_rows_and_their_norm(n: int) -> None:
    r = Sketch()
    h = r.norm(r.select("picked", r.x))
    outputs = [r.linear(h, 7 + i, f"y{i}") for i in range(n)]
    r.silu("end", outputs[-1])
    assert fused_kinds(r) == ["norm_matmul", "silu"]
    op = fuse(r.ops)[1]
    assert op.inputs == (r.x,) and op.outputs == tuple(outputs)
    assert [value.rows for value in (r.x, *outputs)] == ["tokens", *["logits"] * n]
    assert kinds(op.parts) == ["select", "rms_norm", *["matmul"] * n]


@pytest.mark.parametrize("product_first", [True, False])
def test_projection_into_the_stream(product_first: bool) -> None:
    r = Sketch()
    y = r.linear(r.x, D_MODEL)
    r.add("sum", *((y, r.x) if product_first else (r.x, y)))
    assert fused_kinds(r) == ["matmul_add"]
    assert fuse(r.ops)[1].inputs == (r.x, r.x)


def test_nothing_is_left_to_fuse() -> None:
    r = Sketch()
    attention_block(r)
    gate_up(r)
    once = fuse(r.ops)
    assert fuse(once) == once


def test_the_input_is_not_changed() -> None:
    r = Sketch()
    attention_block(r)
    before = list(r.ops)
    fuse(r.ops)
    assert r.ops == before


def test_no_ops() -> None:
    assert fuse([]) == []


def test_every_rule_can_fire() -> None:
    r = Sketch()
    attention_block(r)
    gate_up(r)
    r.linear(r.norm(r.x), 5)
    names = {rule.__name__.removeprefix("_") for rule in RULES}
    assert names == {op.kind for op in fuse(r.ops) if op.parts}


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_graph(data: st.DataObject) -> None:
    """Ops over randomly chosen earlier values: fusion keeps every value that is still needed."""
    r = Sketch()
    wide = [r.x]
    table = r.table()
    for i in range(data.draw(st.integers(1, 14))):
        x, y = (data.draw(st.sampled_from(wide[-4:])) for _ in "xy")
        what = data.draw(
            st.sampled_from(["norm", "linear", "silu", "gelu", "mul", "add", "attention"])
        )
        if what == "norm":
            wide.append(r.norm(x, f"n{i}"))
        elif what == "linear":
            wide.append(r.linear(x, D_MODEL, f"l{i}", data.draw(st.booleans())))
        elif what in ("silu", "gelu"):
            wide.append(getattr(r, what)(f"s{i}", x))
        elif what == "attention":
            q, k = r.heads(x, HEADS, f"q{i}"), r.heads(y, KV_HEADS, f"k{i}")
            q, k = r.rope(f"q_{i}", q, table, False), r.rope(f"k_{i}", k, table, False)
            wide.append(r.attention(f"a{i}", q, k, r.heads(x, 2, f"v{i}"), 1.0, KV_HEADS))
        else:
            wide.append(getattr(r, what)(f"{what}{i}", x, y))
    last = wide[-1]
    if data.draw(st.booleans()):
        last = r.norm(r.select("picked", last), "last")
    r.matmul("logits", last, weight("head", 9, D_MODEL))
    check(r.ops, fuse(r.ops))
