"""Configurations for tests: a Config, and the metadata and shapes that one is inferred from."""

from __future__ import annotations

from typing import Any

from smelt.config import Config, RopeScaling

Shapes = dict[str, tuple[int, ...]]


def make_config(n_heads: int = 1, n_kv_heads: int = 1, head_dim: int = 2, **other: Any) -> Config:
    """A Llama of one layer with heads of this size, the whole of which turns."""
    usual = {
        "architecture": "llama",
        "name": "",
        "n_layers": 1,
        "n_vocab": 1,
        "n_ctx": 64,
        "d_model": n_heads * head_dim,
        "d_ff": 1,
        "tied": True,
        "norm_eps": 1e-5,
        "rotary_dim": head_dim,
        "rope_base": 10000.0,
        "rope_scaling": RopeScaling(),
        "rope_factors": False,
    }
    fields: dict[str, Any] = usual | other
    return Config(n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=head_dim, **fields)


def shapes_of(
    *,
    d_model: int = 64,
    n_layers: int = 2,
    q_dim: int = 64,
    kv_dim: int = 32,
    d_ff: int = 160,
    n_vocab: int = 300,
    tied: bool = False,
) -> Shapes:
    """The tensors of a Llama's file."""
    shapes: Shapes = {"token_embd.weight": (n_vocab, d_model), "output_norm.weight": (d_model,)}
    if not tied:
        shapes["output.weight"] = (n_vocab, d_model)
    for layer in range(n_layers):
        prefix = f"blk.{layer}."
        shapes[f"{prefix}attn_norm.weight"] = (d_model,)
        shapes[f"{prefix}attn_q.weight"] = (q_dim, d_model)
        shapes[f"{prefix}attn_k.weight"] = (kv_dim, d_model)
        shapes[f"{prefix}attn_v.weight"] = (kv_dim, d_model)
        shapes[f"{prefix}attn_output.weight"] = (d_model, q_dim)
        shapes[f"{prefix}ffn_norm.weight"] = (d_model,)
        shapes[f"{prefix}ffn_gate.weight"] = (d_ff, d_model)
        shapes[f"{prefix}ffn_up.weight"] = (d_ff, d_model)
        shapes[f"{prefix}ffn_down.weight"] = (d_model, d_ff)
    return shapes


def metadata_of(**values: Any) -> dict[str, Any]:
    """Only what the shapes cannot say, and `values`: "rope__freq_base" is llama.rope.freq_base."""
    keys = {f"llama.{name.replace('__', '.')}": value for name, value in values.items()}
    return {"general.architecture": "llama", "llama.attention.head_count": 4} | keys
