"""Writes a GGUF model of a well-known shape filled with random blocks, for benchmarks.

    python bench/make_model.py tinyllama Q4_K_M /tmp/tinyllama-Q4_K_M.gguf
    python bench/make_model.py qwen3-0.6b Q8_0 /tmp/qwen3-0.6b-Q8_0.gguf

The weights mean nothing, but their sizes, formats and magnitudes are those of a real file, so that
time and memory are. Mixtures are those of `smelt quantize`; a plain format is that of every matrix.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from smelt.formats import FORMATS
from smelt.gguf_writer import NewTensor, write_gguf
from smelt.mixtures import MIXTURES, choose_formats
from smelt.tokenizer.bpe import ALPHABET


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Dimensions of a model, and what else its metadata say of it."""

    architecture: str = "llama"
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    n_vocab: int
    n_ctx: int
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    tied: bool = False


# As the models' config.json say: TinyLlama-1.1B-Chat-v1.0, Meta-Llama-3-8B, Qwen3-0.6B, Qwen3-4B.
SHAPES = {
    "tiny": Shape(
        n_layers=2, d_model=256, n_heads=4, n_kv_heads=2, head_dim=64, d_ff=512, n_vocab=1024,
        n_ctx=512,
    ),
    "tinyllama": Shape(
        n_layers=22, d_model=2048, n_heads=32, n_kv_heads=4, head_dim=64, d_ff=5632,
        n_vocab=32000, n_ctx=2048,
    ),
    "llama-3-8b": Shape(
        n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, d_ff=14336,
        n_vocab=128256, n_ctx=8192, rope_base=500000.0,
    ),
    "qwen3-0.6b": Shape(
        architecture="qwen3", n_layers=28, d_model=1024, n_heads=16, n_kv_heads=8, head_dim=128,
        d_ff=3072, n_vocab=151936, n_ctx=40960, rope_base=1e6, norm_eps=1e-6, tied=True,
    ),
    "qwen3-4b": Shape(
        architecture="qwen3", n_layers=36, d_model=2560, n_heads=32, n_kv_heads=8, head_dim=128,
        d_ff=9728, n_vocab=151936, n_ctx=40960, rope_base=1e6, norm_eps=1e-6, tied=True,
    ),
}  # fmt: skip

# Where the halves d and dmin (or m) lie in a block; formats not named keep d at byte 0.
SCALES_AT = {"q2_k": (80, 82), "q3_k": (108,), "q6_k": (208,)}
WITH_MINIMUM = {"q4_k", "q5_k", "q4_1", "q5_1"}
POOL_WEIGHTS = 1 << 20  # random ones, repeated to the size of the matrix


def random_blocks(name: str, n_weights: int, std: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 blocks of a format whose decoded weights have mean near 0 and about this std."""
    form = FORMATS[name]
    n_blocks = n_weights // form.block_weights
    if form.block_weights == 1:
        values = rng.standard_normal(min(n_weights, POOL_WEIGHTS), np.float32) * np.float32(std)
        if name == "f16":
            values = values.astype(np.float16)
        pool = values.view(np.uint8).reshape(len(values), -1)
        pool = pool[:, -form.block_bytes :]  # of bf16 the upper half
        return np.resize(pool, (n_blocks, form.block_bytes)).reshape(-1)
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


def tensor_shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every tensor."""
    q_dim, kv_dim = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    d, ff = shape.d_model, shape.d_ff
    yield "token_embd.weight", (shape.n_vocab, d)
    for layer in range(shape.n_layers):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", (d,)
        yield prefix + "attn_q.weight", (q_dim, d)
        yield prefix + "attn_k.weight", (kv_dim, d)
        yield prefix + "attn_v.weight", (kv_dim, d)
        if shape.architecture == "qwen3":
            yield prefix + "attn_q_norm.weight", (shape.head_dim,)
            yield prefix + "attn_k_norm.weight", (shape.head_dim,)
        yield prefix + "attn_output.weight", (d, q_dim)
        yield prefix + "ffn_norm.weight", (d,)
        yield prefix + "ffn_gate.weight", (ff, d)
        yield prefix + "ffn_up.weight", (ff, d)
        yield prefix + "ffn_down.weight", (d, ff)
    yield "output_norm.weight", (d,)
    if not shape.tied:
        yield "output.weight", (shape.n_vocab, d)


def metadata_of(shape: Shape, mixture: str) -> dict[str, Any]:
    """What a real file says of its dimensions, and a vocabulary of its kind and size."""
    of_model = {
        "context_length": shape.n_ctx,
        "embedding_length": shape.d_model,
        "block_count": shape.n_layers,
        "feed_forward_length": shape.d_ff,
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": shape.n_kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_rms_epsilon": shape.norm_eps,
        "rope.dimension_count": shape.head_dim,
        "rope.freq_base": shape.rope_base,
        "vocab_size": shape.n_vocab,
    }
    vocabulary = sentencepiece if shape.architecture == "llama" else byte_level
    return {
        "general.architecture": shape.architecture,
        "general.name": f"random blocks in {mixture}",
        **{f"{shape.architecture}.{key}": value for key, value in of_model.items()},
        **{f"tokenizer.ggml.{key}": value for key, value in vocabulary(shape.n_vocab).items()},
    }


def sentencepiece(n_vocab: int) -> dict[str, Any]:
    """Specials, bytes, the space and made-up words."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    n_words, n_other = n_vocab - len(tokens), len(tokens)
    words = ["\u2581", *(f"\u2581w{number}" for number in range(1, n_words))]
    return {
        "model": "llama",
        "tokens": tokens + words,
        "scores": np.array([0.0] * n_other + [-float(i) for i in range(n_words)], np.float32),
        "token_type": np.array([2, 3, 3, *[6] * 256, *[1] * n_words], np.int32),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }


def byte_level(n_vocab: int) -> dict[str, Any]:
    """The bytes, pairs and triples of them with the merges that make them, and ChatML's marks."""
    letters, marks = list(ALPHABET), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pairs = list(product(letters, letters))
    longer = (("".join(pair), letter) for pair in pairs for letter in letters)
    n_merged = n_vocab - len(letters) - len(marks)
    merges = [*pairs, *islice(longer, max(0, n_merged - len(pairs)))][:n_merged]
    end = len(letters) + n_merged
    return {
        "model": "gpt2",
        "pre": "qwen2",
        "tokens": [*letters, *map("".join, merges), *marks],
        "token_type": np.array([1] * end + [3] * len(marks), np.int32),
        "merges": list(map(" ".join, merges)),
        "bos_token_id": end,
        "eos_token_id": end + 2,
        "padding_token_id": end,
        "add_bos_token": False,
    }


def formats_of(shape: Shape, mixture: str, metadata: dict[str, Any]) -> dict[str, str]:
    """The format of every tensor."""
    shapes = dict(tensor_shapes(shape))
    if mixture in MIXTURES:
        chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
        return {name: chosen[name].format if name in chosen else "f32" for name in shapes}
    return {name: mixture.lower() if len(dims) == 2 else "f32" for name, dims in shapes.items()}


def write(path: str, shape: Shape, mixture: str, seed: int = 0) -> None:
    """Writes the model, a tensor at a time."""
    rng = np.random.default_rng(seed)
    metadata = metadata_of(shape, mixture)
    formats, shapes = formats_of(shape, mixture, metadata), dict(tensor_shapes(shape))

    def weights(name: str) -> np.ndarray:
        dims = shapes[name]
        if len(dims) == 1:
            return np.ones(dims, np.float32).view(np.uint8)
        std = 1.0 if name == "token_embd.weight" and not shape.tied else dims[1] ** -0.5
        return random_blocks(formats[name], dims[0] * dims[1], std, rng)

    if mixture in MIXTURES:
        metadata["general.file_type"] = MIXTURES[mixture].file_type
    tensors = [NewTensor.of(name, shapes[name], FORMATS[formats[name]]) for name in shapes]
    write_gguf(Path(path), metadata, tensors, map(weights, shapes))


def main() -> None:
    known = sorted({*MIXTURES, *(form.gguf_name for form in FORMATS.values())})
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"formats: {', '.join(known)}"
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("format", type=str.upper, choices=known, metavar="format")
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.path, SHAPES[arguments.shape], arguments.format, arguments.seed)


if __name__ == "__main__":
    main()
