"""What the tests of the report share: a vocabulary full of traps, and findings made by hand."""

from __future__ import annotations

import numpy as np

from smelt.report.attention import habits
from smelt.report.depth import LayerRms, band
from smelt.report.findings import Findings
from smelt.report.lens import Lens
from smelt.report.surprise import score
from smelt.tokenizer import Tokenizer

# Tokens that are markup, mathematics, code of a terminal, or turn the direction of writing.
TRAPS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg><script>",
    "$\\frac{",
    "{{ 7 * 7 }}",
    "&lt;b&gt;",
    "\x1b[31m",
    "\u202eevil",
    "]]>-->",
    "漢字",
    'id="x" href="#y" url(#z)',
]
FIRST_TRAP = 3 + 256
N_VOCAB = FIRST_TRAP + len(TRAPS)


def trap_tokenizer() -> Tokenizer:
    """SentencePiece: <unk>, <s>, </s>, the bytes, and the traps."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *TRAPS]
    return Tokenizer.from_metadata(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
            "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * len(TRAPS)],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.add_bos_token": True,
        }
    )


def some_attention(n: int, n_heads: int, seed: int = 0) -> np.ndarray:
    """Causal weights that sum to 1: [n, n_heads, n]."""
    rng = np.random.default_rng(seed)
    weights = np.tril(rng.exponential(size=(n_heads, n, n)) ** 3).transpose(1, 0, 2)
    return weights / weights.sum(axis=-1, keepdims=True)


def some_findings(ids: list[int], n_layers: int = 3, n_heads: int = 2, seed: int = 0) -> Findings:
    """Findings about these tokens, from random numbers."""
    rng = np.random.default_rng(seed)
    n = len(ids)
    logits = rng.normal(size=(n, N_VOCAB)) * 3
    tokens = rng.integers(FIRST_TRAP, N_VOCAB, (n_layers + 1, n))
    lens = Lens(tuple(ids), tokens, rng.uniform(size=tokens.shape))
    rows = [rng.normal(size=(n, 8)) * 2.0**layer for layer in range(n_layers + 1)]
    rms = LayerRms(band(rows), band(rows[1:]), band(rows[:-1]))
    attention = [some_attention(n, n_heads, layer) for layer in range(n_layers)]
    known = {}
    for layer, weights in enumerate(attention):
        known |= habits(layer, weights)
    maps = tuple((head, known[head], attention[head[0]][:, head[1]]) for head in sorted(known)[:4])
    labels = tuple(f"token {i}" for i in range(n))
    return Findings(tuple(ids), labels, score([logits], ids), rms, lens, known, maps)
