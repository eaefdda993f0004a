"""Fusion leaves alone what is only nearly a rule's pattern: something else reads a value inside it,
or an op does not quite fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fusion_blocks import attention_block, check, fused_kinds, gate_up, normed_attention
from sketch import D_FF, D_MODEL, HEAD_DIM, HEADS, KV_HEADS, Sketch, weight

from smelt.graph.fusion import fuse
from smelt.graph.ops import Op, Value


def unread_by_others(r: Sketch, value: Value) -> None:
    """Another reader, far behind."""
    r.silu("other_reader", value)


@pytest.mark.parametrize("which", ["kq", "kq_softmax"])
def test_scores_that_somebody_else_reads(which: str) -> None:
    r = Sketch()
    attention_block(r)
    unread_by_others(r, next(v for op in r.ops for v in op.outputs if v.name == which))
    assert "attention" not in fused_kinds(r)


def test_turned_keys_that_somebody_else_reads() -> None:
    r = Sketch()
    attention_block(r)
    unread_by_others(r, next(v for op in r.ops for v in op.outputs if v.name == "k_rope"))
    assert "rope_kv_write" not in fused_kinds(r)


def test_turned_queries_that_somebody_else_reads_stay() -> None:
    r = Sketch()
    attention_block(r)
    unread_by_others(r, next(v for op in r.ops for v in op.outputs if v.name == "q_rope"))
    assert "rope_kv_write" in fused_kinds(r)


@pytest.mark.parametrize("which", ["q_norm", "k_norm"])
def test_normed_heads_that_somebody_else_reads(which: str) -> None:
    r = Sketch()
    normed_attention(r)
    unread_by_others(r, next(v for op in r.ops for v in op.outputs if v.name == which))
    assert fused_kinds(r).count("rms_norm") == 2


@pytest.mark.parametrize("odd", [{"gain_q": None}, {"gain_k": None}, {"eps_k": 1e-6}], ids=str)
def test_norms_of_heads_that_differ(odd: dict[str, Any]) -> None:
    r = Sketch()
    normed_attention(r, **odd)
    assert fused_kinds(r).count("rms_norm") == 2


def test_norms_of_heads_that_matmuls_read() -> None:
    """norm_matmul and norm_gate_up normalise whole rows."""
    r = Sketch()
    gain = weight("gain", HEAD_DIM)
    h = r.rms_norm("h", r.heads(r.x, HEADS, "heads"), gain, 1e-5)
    r.linear(h, 7)
    assert fused_kinds(r) == ["matmul", "rms_norm", "matmul"]
    r = Sketch()
    h = r.rms_norm("h", r.heads(r.x, HEADS, "heads"), gain, 1e-5)
    r.mul("gated", r.silu("act", r.linear(h, D_FF, "gate")), r.linear(h, D_FF, "up"))
    assert "norm_gate_up" not in fused_kinds(r)


def test_normed_values_and_keys_of_the_queries() -> None:
    """No op can read what it makes itself: values that are the normed keys, or keys that are."""
    r = Sketch()
    table = r.table()
    q, k = (r.heads(r.x, KV_HEADS, name) for name in "qk")
    normed = [r.rms_norm(f"{x.name}_norm", x, weight("gain", HEAD_DIM), 1e-5) for x in (q, k)]
    turned = [r.rope(f"{x.name}_rope", x, table, True) for x in normed]
    r.attention("", *turned, normed[1], 0.5, KV_HEADS)
    assert fused_kinds(r).count("rms_norm") == 2
    r = Sketch()
    table = r.table()
    q = r.rms_norm("q_norm", r.heads(r.x, KV_HEADS, "q"), weight("gain", HEAD_DIM), 1e-5)
    k = r.rms_norm("k_norm", q, weight("gain", HEAD_DIM), 1e-5)
    q, k = r.rope("q_rope", q, table, True), r.rope("k_rope", k, table, True)
    r.attention("", q, k, r.heads(r.x, KV_HEADS, "v"), 0.5, KV_HEADS)
    assert fused_kinds(r).count("rms_norm") == 2


@pytest.mark.parametrize("which", ["norm", "gate", "up", "act"])
def test_gate_values_that_somebody_else_reads(which: str) -> None:
    r = Sketch()
    gate_up(r)
    unread_by_others(r, next(v for op in r.ops for v in op.outputs if v.name == which))
    assert "norm_gate_up" not in fused_kinds(r)


@pytest.mark.parametrize("n", [1, 3])
def test_norm_that_somebody_else_reads(n: int) -> None:
    r = Sketch()
    h = r.norm(r.x)
    for i in range(n):
        r.linear(h, 7, f"y{i}")
    unread_by_others(r, h)
    assert "norm_matmul" not in fused_kinds(r)


def test_selected_rows_that_somebody_else_reads() -> None:
    r = Sketch()
    picked = r.select("picked", r.x)
    r.linear(r.norm(picked), 7)
    unread_by_others(r, picked)
    assert fused_kinds(r) == ["select", "norm_matmul", "silu"]


def test_norm_of_something_else_behind_a_select() -> None:
    r = Sketch()
    r.select("picked", r.x)
    r.linear(r.norm(r.x), 7)
    assert fused_kinds(r) == ["select", "norm_matmul"]


def test_selected_rows_of_a_gated_unit() -> None:
    """norm_gate_up has no rows to choose."""
    r = Sketch()
    r.x = r.select("picked", r.x)
    gate_up(r)
    assert fused_kinds(r) == ["select", "norm_gate_up"]


def test_norm_with_four_matmuls() -> None:
    r = Sketch()
    h = r.norm(r.x)
    for i in range(4):
        r.linear(h, 7, f"y{i}")
    assert fused_kinds(r) == ["rms_norm", *["matmul"] * 4]


def test_norm_whose_second_matmul_comes_later() -> None:
    r = Sketch()
    h = r.norm(r.x)
    r.silu("between", r.linear(h, 7, "a"))
    r.linear(h, 7, "b")
    assert "norm_matmul" not in fused_kinds(r)


def test_matmul_of_something_else_behind_a_norm() -> None:
    r = Sketch()
    h = r.norm(r.x)
    r.linear(r.x, 7, "a")
    r.linear(h, 7, "b")
    assert fused_kinds(r) == ["rms_norm", "matmul", "matmul"]


def test_product_that_somebody_else_reads() -> None:
    r = Sketch()
    y = r.linear(r.x, D_MODEL)
    r.add("sum", y, r.x)
    unread_by_others(r, y)
    assert fused_kinds(r) == ["matmul", "add", "silu"]


def test_product_added_to_itself() -> None:
    r = Sketch()
    y = r.linear(r.x, D_MODEL)
    r.add("sum", y, y)
    assert fused_kinds(r) == ["matmul", "add"]


def test_sum_of_other_values() -> None:
    r = Sketch()
    y = r.linear(r.x, D_MODEL, "y")
    r.linear(r.x, D_MODEL, "z")
    r.add("sum", y, r.x)
    assert "matmul_add" not in fused_kinds(r)


def test_sum_that_does_not_follow_at_once() -> None:
    r = Sketch()
    y = r.linear(r.x, D_MODEL, "y")
    r.silu("between", r.x)
    r.add("sum", y, r.x)
    assert fused_kinds(r) == ["matmul", "silu", "add"]


def test_gate_and_up_of_different_values() -> None:
    r = Sketch()
    h = r.norm(r.x)
    gate, up = r.linear(h, D_FF, "gate"), r.linear(r.x, D_FF, "up")
    r.mul("swiglu", r.silu("silu", gate), up)
    assert "norm_gate_up" not in fused_kinds(r)


@pytest.mark.parametrize("act", ["sigmoid", "tanh", "relu"])
def test_gates_that_no_kernel_has(act: str) -> None:
    r = Sketch()
    gate_up(r, act)
    assert "norm_gate_up" not in fused_kinds(r)


def test_silu_of_the_other_matmul() -> None:
    r = Sketch()
    h = r.norm(r.x)
    gate, up = r.linear(h, D_FF, "gate"), r.linear(h, D_FF, "up")
    r.mul("swiglu", gate, r.silu("silu", up))
    assert "norm_gate_up" not in fused_kinds(r)


def test_softmax_of_other_scores() -> None:
    """Neighbours by kind alone: every one of the three ops belongs to another attention."""
    r = Sketch()
    q = r.heads(r.x, HEADS, "q")
    heads = {"n_heads": HEADS, "n_kv_heads": KV_HEADS, "head_dim": HEAD_DIM}
    first, second = (Value(name, (HEADS, 64)) for name in ("first", "second"))
    p1, p2 = Value("p1", (HEADS, 64)), Value("p2", (HEADS, 64))
    y1, y2 = Value("y1", (HEADS, HEAD_DIM)), Value("y2", (HEADS, HEAD_DIM))
    r.ops += [
        Op("attention_scores", (q,), (first,), (), heads),
        Op("attention_scores", (q,), (second,), (), heads),
        Op("softmax", (first,), (p1,), (), {"scale": 1.0, "n_heads": HEADS}),
        Op("attention_mix", (p1,), (y1,), (), heads),
        Op("softmax", (second,), (p2,), (), {"scale": 1.0, "n_heads": HEADS}),
        Op("attention_mix", (p2,), (y2,), (), heads),
    ]
    assert "attention" not in fused_kinds(r)


def test_mix_of_other_weights() -> None:
    r = Sketch()
    q = r.heads(r.x, HEADS, "q")
    heads = {"n_heads": HEADS, "n_kv_heads": KV_HEADS, "head_dim": HEAD_DIM}
    scores, p, other = (Value(name, (HEADS, 64)) for name in ("scores", "p", "other"))
    r.ops += [
        Op("attention_scores", (r.x,), (other,), (), heads),
        Op("attention_scores", (q,), (scores,), (), heads),
        Op("softmax", (scores,), (p,), (), {"scale": 1.0, "n_heads": HEADS}),
        Op("attention_mix", (other,), (Value("y", (HEADS, HEAD_DIM)),), (), heads),
    ]
    assert "attention" not in fused_kinds(r)


def rope_and_write(
    r: Sketch, change: Callable[[Sketch, Value, Value], tuple[Value, Value]]
) -> None:
    q, k, v = (r.heads(r.x, n, name) for name, n in (("q", HEADS), ("k", 2), ("v", 2)))
    q, k = change(r, q, k)
    r.attention("", q, k, v, 0.5, KV_HEADS)


def test_keys_in_another_order() -> None:
    r = Sketch()
    table = r.table()
    rope_and_write(r, lambda r, q, k: (r.rope("q_", q, table, False), r.rope("k_", k, table, True)))
    assert "rope_kv_write" not in fused_kinds(r)


def test_keys_by_another_table() -> None:
    r = Sketch()
    one, two = r.table(), r.table()
    rope_and_write(r, lambda r, q, k: (r.rope("q_", q, one, False), r.rope("k_", k, two, False)))
    assert "rope_kv_write" not in fused_kinds(r)


def test_keys_before_queries() -> None:
    r = Sketch()
    table = r.table()

    def keys_first(r: Sketch, q: Value, k: Value) -> tuple[Value, Value]:
        k = r.rope("k_", k, table, False)
        return r.rope("q_", q, table, False), k

    rope_and_write(r, keys_first)
    assert "rope_kv_write" not in fused_kinds(r)


def test_keys_that_do_not_turn() -> None:
    r = Sketch()
    table = r.table()

    def queries_twice(r: Sketch, q: Value, k: Value) -> tuple[Value, Value]:
        return r.rope("q_2", r.rope("q_", q, table, False), table, False), k

    rope_and_write(r, queries_twice)
    assert "rope_kv_write" not in fused_kinds(r)


def test_keys_turned_out_of_the_queries() -> None:
    """The second rope reads what the first one makes: no op can read its own result."""
    r = Sketch()
    table = r.table()
    q, v = r.heads(r.x, KV_HEADS, "q"), r.heads(r.x, KV_HEADS, "v")
    q = r.rope("q_", q, table, False)
    r.attention("", q, r.rope("k_", q, table, False), v, 0.5, KV_HEADS)
    assert "rope_kv_write" not in fused_kinds(r)


def test_the_result_stays_the_result() -> None:
    """Of two matmuls at the end, the second one's value is the program's result."""
    r = Sketch()
    h = r.norm(r.x)
    r.linear(h, 7, "other")
    r.linear(h, 9, "logits")
    check(r.ops, fuse(r.ops))
