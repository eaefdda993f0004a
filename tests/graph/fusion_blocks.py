"""Graphs that rules of fusion know, and a check of what fusion made of them."""

from __future__ import annotations

from collections.abc import Sequence

from sketch import D_FF, D_MODEL, HEAD_DIM, HEADS, KV_HEADS, Sketch, kinds, weight

from smelt.graph.fusion import fuse
from smelt.graph.ops import Op, Value


def check(plain: Sequence[Op], fused: Sequence[Op]) -> None:
    """The fused ops are the plain ones in groups, each with the group's operands and results."""
    flat = [part for op in fused for part in (op.parts or (op,))]
    assert flat == list(plain)  # ops compare by identity
    result = plain[-1].outputs[0] if plain[-1].outputs else None
    for op in fused:
        group = op.parts or (op,)
        made = {value for part in group for value in part.outputs}
        read = {value for part in group for value in part.inputs} - made
        outside = {v for other in plain if other not in group for v in other.inputs}
        assert read <= set(op.inputs)
        assert not set(op.inputs) & made
        assert made & (outside | {result}) <= set(op.outputs) <= made
        assert set(op.weights) == {w for part in group for w in part.weights}
        assert all(not part.parts for part in group)
    if result is not None:
        assert fused[-1].outputs[0] is result  # what graph.build takes for the logits


def fused_kinds(r: Sketch) -> list[str]:
    fused = fuse(r.ops)
    check(r.ops, fused)
    return kinds(fused)[1:]  # behind embed


def attention_block(r: Sketch) -> Value:
    table = r.table()
    h = r.norm(r.x)
    q, k, v = (r.heads(h, n, name) for name, n in (("q", HEADS), ("k", 2), ("v", 2)))
    q, k = r.rope("q_rope", q, table, False), r.rope("k_rope", k, table, False)
    mixed = r.attention("", q, k, v, 0.5, KV_HEADS)
    return r.add("sum", r.linear(mixed, D_MODEL, "out"), r.x)


def normed_attention(
    r: Sketch,
    gain_q: int | None = HEAD_DIM,
    gain_k: int | None = HEAD_DIM,
    eps_k: float = 1e-5,
) -> None:
    """Attention whose queries and keys are normalised by gains of so many elements (None: all)."""
    table = r.table()
    q, k, v = (r.heads(r.x, n, name) for name, n in (("q", HEADS), ("k", 2), ("v", 2)))
    q = r.rms_norm("q_norm", q, weight("q.gain", gain_q or q.width), 1e-5)
    k = r.rms_norm("k_norm", k, weight("k.gain", gain_k or k.width), eps_k)
    q, k = r.rope("q_rope", q, table, True), r.rope("k_rope", k, table, True)
    r.attention("", q, k, v, 0.5, KV_HEADS)


def gate_up(r: Sketch, act: str = "silu", bias: bool = False) -> Value:
    h = r.norm(r.x)
    gate, up = r.linear(h, D_FF, "gate", bias), r.linear(h, D_FF, "up", bias)
    return r.mul("gated", getattr(r, act)("act", gate), up)
