"""A small valid Llama written as a GGUF file: random weights, and a vocabulary that works."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, RopeScalingType

from random_weights import random_weights
from smelt.formats import FORMATS
from smelt.tokenizer.bpe import ALPHABET

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
WORDS = "the and once upon time was there is one of to in you that he she it for on with his as at"
UNKNOWN, BOS, EOS = 0, 1, 2
FIRST_PIECE = 3 + 256  # behind the special and the byte tokens
QWEN_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_tiny_llama(
    path: str | Path,
    format: str = "q4_k",
    *,
    n_layers: int = 2,
    d_model: int = 256,
    n_heads: int = 4,
    n_kv_heads: int = 2,
    d_ff: int = 512,
    n_vocab: int = 384,
    head_dim: int | None = None,
    rotary_dim: int | None = None,
    tied: bool = False,
    biases: bool = False,
    rope_freqs: bool = False,
    rope_scaling: str | None = None,
    n_ctx: int = 256,
    architecture: str = "llama",
    formats: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Writes the file and returns its path. The same arguments give the same bytes.

    format: of every matrix, one of the 15 that smelt computes with; the K-quants want rows of 256
    weights, the older ones of 32. formats: other formats for some matrices, by the part of their
    name before ".weight" and behind "blk.N." ("attn_v", "ffn_down", "output", "token_embd").
    rope_scaling: "linear" or "yarn", from a quarter of n_ctx. Vectors are F32.
    architecture: "llama", "qwen2", which has biases of queries, keys and values, or "qwen3", which
    has gains of query and key heads; both have a byte-level vocabulary and no BOS.

    Weights are scaled so that activations keep their size: logits are about ±3, at most ±15.
    """
    path = Path(path)
    head_dim = head_dim or d_model // n_heads
    rotary_dim = rotary_dim or head_dim
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, architecture)
    writer.add_name(f"tiny random {architecture}")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(d_model)
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(d_ff)
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(rotary_dim)
    writer.add_rope_freq_base(10000.0)
    if rope_scaling:
        writer.add_rope_scaling_type(RopeScalingType(rope_scaling))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(n_ctx // 4)
    (_add_vocabulary if architecture == "llama" else _add_qwen_vocabulary)(writer, n_vocab)

    def matrix(name: str, n_out: int, n_in: int, gain: float) -> None:
        chosen = (formats or {}).get(name.split(".")[-1], format)
        blocks = random_weights(rng, chosen, n_out, n_in, gain / n_in**0.5)
        gguf_type = GGMLQuantizationType(FORMATS[chosen].gguf_type)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=gguf_type)

    def vector(name: str, low: float, high: float, n: int) -> None:
        writer.add_tensor(name, rng.uniform(low, high, n).astype(np.float32))

    matrix("token_embd", n_vocab, d_model, 3.0 if tied else d_model**0.5)
    if rope_freqs:
        vector("rope_freqs.weight", 1.0, 8.0, rotary_dim // 2)
    for layer in range(n_layers):
        prefix = f"blk.{layer}."
        vector(f"{prefix}attn_norm.weight", 0.5, 1.5, d_model)
        q_dim, kv_dim = n_heads * head_dim, n_kv_heads * head_dim
        rows = {"q": q_dim, "k": kv_dim, "v": kv_dim, "output": d_model}
        for part, n_out in rows.items():
            matrix(f"{prefix}attn_{part}", n_out, q_dim if part == "output" else d_model, 1.0)
            if biases or (architecture == "qwen2" and part != "output"):
                vector(f"{prefix}attn_{part}.bias", -0.5, 0.5, n_out)
            if architecture == "qwen3" and part in ("q", "k"):
                vector(f"{prefix}attn_{part}_norm.weight", 0.5, 1.5, head_dim)
        vector(f"{prefix}ffn_norm.weight", 0.5, 1.5, d_model)
        for part, n_out, n_in in (("gate", d_ff, d_model), ("up", d_ff, d_model)):
            matrix(f"{prefix}ffn_{part}", n_out, n_in, 1.0)
        matrix(f"{prefix}ffn_down", d_model, d_ff, 1.0)
        if biases:
            for part, n_out in (("gate", d_ff), ("up", d_ff), ("down", d_model)):
                vector(f"{prefix}ffn_{part}.bias", -0.5, 0.5, n_out)
    vector("output_norm.weight", 0.5, 1.5, d_model)
    if not tied:
        matrix("output", n_vocab, d_model, 3.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter, n_vocab: int) -> None:
    """SentencePiece BPE: <unk>, <s>, </s>, the 256 bytes, then pieces of English letters."""
    if n_vocab < FIRST_PIECE:
        raise ValueError(f"n_vocab must be at least {FIRST_PIECE}, for every byte has a token")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [2, 3, 3, *[6] * 256]
    pieces = _pieces()
    while len(pieces) < n_vocab - FIRST_PIECE:
        pieces.append(f"piece{len(pieces)}")
    tokens += pieces[: n_vocab - FIRST_PIECE]
    types += [1] * (n_vocab - FIRST_PIECE)
    scores = [-float(max(0, token - FIRST_PIECE)) for token in range(n_vocab)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)


def _add_qwen_vocabulary(writer: GGUFWriter, n_vocab: int) -> None:
    """Byte-level BPE with what files of Qwen models say: no beginning of text, ChatML, padding."""
    merges = ["t h", "Ġ th", "Ġth e", "i n", "Ġ a", "Ġa n", "Ġan d"]
    tokens = [*ALPHABET, *(merge.replace(" ", "") for merge in merges)]
    types = [1] * len(tokens) + [3] * len(QWEN_SPECIALS)
    end = len(tokens)
    tokens += QWEN_SPECIALS
    types += [5] * (n_vocab - len(tokens))
    tokens += [f"[PAD{token}]" for token in range(len(tokens), n_vocab)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end + 2)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )


def _pieces() -> list[str]:
    """Letters, and words with what their merges pass through, the most useful first."""
    prefixes = ["▁" + word[:n] for word in WORDS.split() for n in range(1, len(word) + 1)]
    pairs = ["".join(pair) for pair in product("taoinshr", "eaoinsth")]
    return list(dict.fromkeys(["▁", *LETTERS, *prefixes, *pairs, ".", ","]))
