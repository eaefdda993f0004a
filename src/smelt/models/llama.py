"""Llama (Touvron et al. 2023, arXiv:2302.13971) and the models that share its shape: Llama 2 and 3,
TinyLlama, Mistral, SmolLM."""

from __future__ import annotations

from ..graph.ops import Recorder
from .blocks import attention_block, feed_forward_block, rope_table

__all__ = ["record"]


def record(r: Recorder) -> None:
    """Records one step: tokens in, logits of the wanted rows out."""
    c = r.config
    embedding = r.weight("token_embd.weight", c.n_vocab, c.d_model)
    table = rope_table(r)
    x = r.embed("embed", embedding)
    for index in range(c.n_layers):
        with r.layer(index) as prefix:
            # GGUF stores Llama's projections with the pairs of a rotation side by side
            x = attention_block(r, prefix, x, table, neox=False)
            x = feed_forward_block(r, prefix, x)
    x = r.select("select", x)
    x = r.rms_norm("norm", x, r.weight("output_norm.weight", c.d_model), c.norm_eps)
    r.matmul("logits", x, embedding if c.tied else r.weight("output.weight", c.n_vocab, c.d_model))
