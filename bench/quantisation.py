"""Compares files quantised by smelt with llama.cpp's, and prints the table of docs/quantise.md.

python bench/quantisation.py ../shared

The folder holds models/prose-code-7m-*.gguf, text/held.txt and oracle/perplexity.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from smelt import Engine, quantize
from smelt.formats import FORMATS, decode_native
from smelt.gguf_file import GGUFFile

MODEL = "prose-code-7m"
MIXTURES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"]
HEADER = (
    "| mixture | MiB | s | weight error, %: smelt | llama.cpp | divergence, 10⁻³: smelt "
    "| llama.cpp | perplexity: smelt | llama.cpp | recorded |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
CHUNK, N_CHUNKS = 512, 12  # tokens for the divergence


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    source = args.shared / "models" / f"{MODEL}-F16.gguf"
    text = (args.shared / "text" / "held.txt").read_text("utf-8")
    oracle = json.loads((args.shared / "oracle" / "perplexity.json").read_text("utf-8"))["models"]
    exact = log_probabilities(source, text)
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for mixture in MIXTURES:
            ours = Path(folder) / f"{mixture}.gguf"
            theirs = args.shared / "models" / f"{MODEL}-{mixture}.gguf"
            seconds = quantize(source, ours, mixture, threads=args.threads).seconds
            errors = [100 * weight_error(source, path) for path in (ours, theirs)]
            divergences = [1e3 * divergence(exact, path, text) for path in (ours, theirs)]
            values = [perplexity(path, text) for path in (ours, theirs)]
            cells = [
                f"{ours.stat().st_size / 2**20:.2f}",
                f"{seconds:.2f}",
                *(f"{error:.3f}" for error in errors),
                *(f"{value:.2f}" for value in divergences),
                *(f"{value:.4f}" for value in values),
                f"{oracle[f'{MODEL}-{mixture}']['ppl']:.4f}",
            ]
            print(f"| {mixture} | {' | '.join(cells)} |", flush=True)


def weight_error(source: Path, path: Path) -> float:
    """‖w' - w‖ / ‖w‖ over all tensors that are quantised."""
    difference = norm = 0.0
    with GGUFFile(source) as before, GGUFFile(path) as after:
        for name, tensor in after.tensors.items():
            if tensor.format != "f32":
                old = before.tensors[name]
                x = decode_native(FORMATS[old.format], old.data)
                y = decode_native(FORMATS[tensor.format], tensor.data)
                difference += np.square(y - x, dtype=np.float64).sum()
                norm += np.square(x, dtype=np.float64).sum()
    return float(np.sqrt(difference / norm))


def log_probabilities(path: Path, text: str) -> np.ndarray:
    """float64 [n_tokens, n_vocab] of the first chunks of a text."""
    parts = []
    with Engine(path, device="cpu") as engine:
        ids = engine.tokenize(text)[: CHUNK * N_CHUNKS]
        for start in range(0, len(ids), CHUNK):
            logits = engine.logits(ids[start : start + CHUNK]).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            parts.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return np.concatenate(parts)


def divergence(exact: np.ndarray, path: Path, text: str) -> float:
    """Mean Kullback-Leibler divergence of the next token from the unquantised model's, in nats."""
    return float((np.exp(exact) * (exact - log_probabilities(path, text))).sum(axis=1).mean())


def perplexity(path: Path, text: str) -> float:
    with Engine(path, device="cpu") as engine:
        return engine.perplexity(text).value


if __name__ == "__main__":
    main()
