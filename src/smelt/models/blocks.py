"""Blocks that several architectures share."""

from __future__ import annotations

from ..graph.ops import Recorder, Value
from ..rope import rotary_frequencies

__all__ = ["attention_block", "feed_forward_block", "rope_table"]


def rope_table(r: Recorder) -> Value:
    """cos and sin of the step's positions, with the model's frequencies and scaling."""
    factors = None
    if r.config.rope_factors:
        factors = r.weight("rope_freqs.weight", r.config.rotary_dim // 2)
    inv_freq, scale = rotary_frequencies(r.config, factors)
    return r.rope_table("rope_table", inv_freq, scale)


def attention_block(r: Recorder, prefix: str, x: Value, table: Value, neox: bool) -> Value:
    """x + attention(rms_norm(x)): grouped queries, optional biases, rotary positions."""
    c = r.config
    h = r.rms_norm(
        f"{prefix}attn_norm", x, r.weight(f"{prefix}attn_norm.weight", c.d_model), c.norm_eps
    )
    heads = {"q": c.n_heads, "k": c.n_kv_heads, "v": c.n_kv_heads}
    q, k, v = (
        r.matmul(
            f"{prefix}{name}",
            h,
            r.weight(f"{prefix}attn_{name}.weight", n * c.head_dim, c.d_model),
            r.optional_weight(f"{prefix}attn_{name}.bias", n * c.head_dim),
            (n, c.head_dim),
        )
        for name, n in heads.items()
    )
    q = r.rope(f"{prefix}q_rope", q, table, neox)
    k = r.rope(f"{prefix}k_rope", k, table, neox)
    mixed = r.attention(prefix, q, k, v, c.head_dim**-0.5, c.n_kv_heads)
    out = r.matmul(
        f"{prefix}attn_out",
        mixed,
        r.weight(f"{prefix}attn_output.weight", c.d_model, c.q_dim),
        r.optional_weight(f"{prefix}attn_output.bias", c.d_model),
    )
    return r.add(f"{prefix}ffn_inp", out, x)


def feed_forward_block(r: Recorder, prefix: str, x: Value) -> Value:
    """x + down(silu(gate(h)) * up(h)), h = rms_norm(x) (SwiGLU: Shazeer 2020, arXiv:2002.05202)."""
    c = r.config
    h = r.rms_norm(
        f"{prefix}ffn_norm", x, r.weight(f"{prefix}ffn_norm.weight", c.d_model), c.norm_eps
    )
    gate, up = (
        r.matmul(
            f"{prefix}ffn_{name}",
            h,
            r.weight(f"{prefix}ffn_{name}.weight", c.d_ff, c.d_model),
            r.optional_weight(f"{prefix}ffn_{name}.bias", c.d_ff),
        )
        for name in ("gate", "up")
    )
    active = r.mul(f"{prefix}ffn_swiglu", r.silu(f"{prefix}ffn_silu", gate), up)
    down = r.matmul(
        f"{prefix}ffn_out",
        active,
        r.weight(f"{prefix}ffn_down.weight", c.d_model, c.d_ff),
        r.optional_weight(f"{prefix}ffn_down.bias", c.d_model),
    )
    return r.add(f"{prefix}out", down, x)
