"""Writes a GGUF model of a well-known shape filled with random blocks, for benchmarks.

    python bench/make_model.py tinyllama Q4_K_M /tmp/tinyllama-q4_k_m.gguf

The weights mean nothing, but their sizes, formats and magnitudes are those of a real file, so that
time and memory are. Mixtures follow llama.cpp's llama_tensor_get_type.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import gguf
import numpy as np

from smelt.formats import FORMATS


@dataclass(frozen=True)
class Shape:
    """Dimensions of a Llama-like model."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_ff: int
    n_vocab: int
    n_ctx: int
    rope_base: float = 10000.0


SHAPES = {
    "tiny": Shape(2, 256, 4, 2, 512, 1024, 512),
    "tinyllama": Shape(22, 2048, 32, 4, 5632, 32000, 2048),
    "llama-3-8b": Shape(32, 4096, 32, 8, 14336, 128256, 8192, 500000.0),
}

# Of each mixture: most tensors, and those that matter more.
MIXTURES = {"Q4_K_M": ("q4_k", "q6_k"), "Q5_K_M": ("q5_k", "q6_k")}

# Where the halves d and dmin (or m) lie in a block; formats not named keep d at byte 0.
SCALES_AT = {"q2_k": (80, 82), "q3_k": (108,), "q6_k": (208,)}
WITH_MINIMUM = {"q4_k", "q5_k", "q4_1", "q5_1"}


def random_blocks(name: str, n_weights: int, std: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 blocks of a format whose decoded weights have mean near 0 and about this std."""
    form = FORMATS[name]
    if form.block_weights == 1:
        values = (rng.standard_normal(n_weights, np.float32) * std).astype(np.float32)
        if name == "f32":
            return values.view(np.uint8)
        if name == "f16":
            return values.astype(np.float16).view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    n_blocks = n_weights // form.block_weights
    pool = rng.integers(0, 256, (min(n_blocks, 4096), form.block_bytes), np.uint8)
    at = SCALES_AT.get(name, (0, 2) if name in WITH_MINIMUM else (0,))

    def decoded(*scales: float) -> np.ndarray:
        for offset, scale in zip(at, scales, strict=True):
            pool[:, offset : offset + 2] = np.array([scale], np.float16).view(np.uint8)
        return form.decode(pool)

    if len(at) == 1:
        decoded(std / decoded(1.0).std())
    else:
        minimum = -decoded(1.0, 0.0).mean() / decoded(0.0, 1.0).mean()
        scale = std / decoded(1.0, minimum).std()
        decoded(scale, scale * minimum)
    return np.resize(pool, (n_blocks, form.block_bytes)).reshape(-1)


def gets_more_bits(layer: int, n_layers: int) -> bool:
    """Which layers' attn_v and ffn_down a _M mixture keeps in the better format."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def tensors(shape: Shape, mixture: str) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(name, shape, format) of every tensor."""
    base, better = MIXTURES.get(mixture, (mixture.lower(), mixture.lower()))
    kv_dim = shape.n_kv_heads * (shape.d_model // shape.n_heads)
    d, ff = shape.d_model, shape.d_ff
    yield "token_embd.weight", (shape.n_vocab, d), base
    for layer in range(shape.n_layers):
        more = better if gets_more_bits(layer, shape.n_layers) else base
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", (d,), "f32"
        yield prefix + "attn_q.weight", (d, d), base
        yield prefix + "attn_k.weight", (kv_dim, d), base
        yield prefix + "attn_v.weight", (kv_dim, d), more
        yield prefix + "attn_output.weight", (d, d), base
        yield prefix + "ffn_norm.weight", (d,), "f32"
        yield prefix + "ffn_gate.weight", (ff, d), base
        yield prefix + "ffn_up.weight", (ff, d), base
        yield prefix + "ffn_down.weight", (d, ff), more
    yield "output_norm.weight", (d,), "f32"
    yield "output.weight", (shape.n_vocab, d), "q6_k" if "_K" in mixture else base


def vocabulary(n_vocab: int) -> tuple[list[str], list[float], list[int]]:
    """A SentencePiece vocabulary: specials, bytes, and made-up words."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    words = [f"\u2581w{number}" for number in range(n_vocab - len(tokens))]
    scores = [0.0] * len(tokens) + [-float(number) for number in range(len(words))]
    return tokens + words, scores, kinds + [1] * len(words)


def write(path: str, shape: Shape, mixture: str, seed: int = 0) -> None:
    """Writes the model."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"random blocks in {mixture}")
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.d_model // shape.n_heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.n_vocab)
    tokens, scores, kinds = vocabulary(shape.n_vocab)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, dims, form in tensors(shape, mixture):
        if len(dims) == 1:
            writer.add_tensor(name, np.ones(dims, np.float32))
            continue
        n_out, n_in = dims
        std = 1.0 if name.startswith("token_embd") else n_in**-0.5
        blocks = random_blocks(form, n_out * n_in, std, rng).reshape(n_out, -1)
        kind = gguf.GGMLQuantizationType(FORMATS[form].gguf_type)
        writer.add_tensor(name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("format", help="Q4_K_M, Q5_K_M, or a plain format such as Q8_0")
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.path, SHAPES[arguments.shape], arguments.format.upper(), arguments.seed)


if __name__ == "__main__":
    main()
