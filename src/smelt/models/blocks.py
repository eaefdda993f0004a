"""Blocks that several architectures share."""

from __future__ import annotations

from ..graph.ops import Recorder, Value
from ..rope import rotary_frequencies

__all__ = ["attention_block", "decoder", "feed_forward_block", "rope_table"]


def decoder(r: Recorder, *, neox: bool, head_norms: bool = False) -> None:
    """One step of a decoder of equal layers: tokens in, logits of the wanted rows out.

    neox: the pairs of a rotation are (i, i + rotary_dim / 2), as GPT-NeoX has them, not (2i, 2i +
    1); head_norms: queries and keys are normalised head by head before they are turned.
    """
    c = r.config
    embedding = r.weight("token_embd.weight", c.n_vocab, c.d_model)
    table = rope_table(r)
    x = r.embed("embed", embedding)
    for index in range(c.n_layers):
        with r.layer(index) as prefix:
            x = attention_block(r, prefix, x, table, neox, head_norms)
            x = feed_forward_block(r, prefix, x)
    x = r.select("select", x)
    x = r.rms_norm("norm", x, r.weight("output_norm.weight", c.d_model), c.norm_eps)
    r.matmul("logits", x, embedding if c.tied else r.weight("output.weight", c.n_vocab, c.d_model))


def rope_table(r: Recorder) -> Value:
    """cos and sin of the step's positions, with the model's frequencies and scaling."""
    factors = None
    if r.config.rope_factors:
        factors = r.weight("rope_freqs.weight", r.config.rotary_dim // 2)
    inv_freq, scale = rotary_frequencies(r.config, factors)
    return r.rope_table("rope_table", inv_freq, scale)


def attention_block(
    r: Recorder, prefix: str, x: Value, table: Value, neox: bool, head_norms: bool = False
) -> Value:
    """x + attention(rms_norm(x)): grouped queries, optional biases, rotary positions."""
    c = r.config
    h = r.rms_norm(
        f"{prefix}attn_norm", x, r.weight(f"{prefix}attn_norm.weight", c.d_model), c.norm_eps
    )
    counts = {"q": c.n_heads, "k": c.n_kv_heads, "v": c.n_kv_heads}
    q, k, v = (
        r.matmul(
            f"{prefix}{name}",
            h,
            r.weight(f"{prefix}attn_{name}.weight", n * c.head_dim, c.d_model),
            r.optional_weight(f"{prefix}attn_{name}.bias", n * c.head_dim),
            (n, c.head_dim),
        )
        for name, n in counts.items()
    )
    if head_norms:
        q, k = (
            r.rms_norm(
                f"{prefix}{name}_norm",
                heads,
                r.weight(f"{prefix}attn_{name}_norm.weight", c.head_dim),
                c.norm_eps,
            )
            for name, heads in (("q", q), ("k", k))
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
