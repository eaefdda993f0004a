"""Tracing: what every op of a model makes of a prompt, by name, kept or as statistics alone.

    run = engine.trace("Once upon a time")                    # in memory
    run = engine.trace(text, pattern="blk.0.*", path="run.npz")  # streamed to a file
    run = engine.trace(text, stats=True)                      # numbers only, nothing stored
    run = load_run("run.npz")

    run["blk.0.q_rope"]                  float32 [n_tokens, n_heads, head_dim], read when asked for
    run.values                           all values in program order, each with name, op, layer,
                                         shape of a row, inputs, weights, dtype (see TracedValue)
    run.names                            names of those that are stored
    run.statistics["blk.0.q_rope"].rms   min, max, mean, zeros, n_nan, n_inf, bad (where)
    run.info                             model, name, device, format, token_ids, token_texts

A value's name is its layer's prefix "blk.N." and its role: embed, rope_table; in a layer attn_norm,
q, k, v, q_rope, k_rope, k_cache and v_cache (what is in the pages of the KV cache; not on Metal,
whose pages are the GPU's), kq (scores, [n_heads, n_tokens]), kq_softmax, kqv, attn_out, ffn_inp,
ffn_norm, ffn_gate, ffn_up, ffn_silu, ffn_swiglu, ffn_out, out; then select, norm, logits. The same
name is the same number on every device; a fused program makes fewer of them. Rows are tokens,
except for select, norm and logits: the tokens whose logits were wanted (run.info.logit_rows).

A trace has a Program and memory of its own: an Engine that is not traced runs exactly what it would
run if there was no tracing. Values wait in at most 256 MiB before they are written:
a prompt is cut into chunks that fit, which on the CPU changes no bit.
"""

from .run import Run, RunInfo, TracedValue
from .run_file import load_run
from .statistics import Statistics

__all__ = ["Run", "RunInfo", "Statistics", "TracedValue", "load_run"]
