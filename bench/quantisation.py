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

from smelt import Comparison, Engine, compare, quantize
from smelt.formats import FORMATS, decode_native
from smelt.gguf_file import GGUFFile

MODEL = "prose-code-7m"
MIXTURES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"]
HEADER = (
    "| mixture | MiB | s | weight error, %: smelt | llama.cpp | divergence, 10⁻³: smelt "
    "| llama.cpp | perplexity: smelt | llama.cpp | recorded |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    source = args.shared / "models" / f"{MODEL}-F16.gguf"
    text = (args.shared / "text" / "held.txt").read_text("utf-8")
    oracle = json.loads((args.shared / "oracle" / "perplexity.json").read_text("utf-8"))["models"]
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder, Engine(source, device="cpu") as exact:
        for mixture in MIXTURES:
            ours = Path(folder) / f"{mixture}.gguf"
            theirs = args.shared / "models" / f"{MODEL}-{mixture}.gguf"
            seconds = quantize(source, ours, mixture, threads=args.threads).seconds
            errors = [100 * weight_error(source, path) for path in (ours, theirs)]
            found = [compared(exact, path, text) for path in (ours, theirs)]
            cells = [
                f"{ours.stat().st_size / 2**20:.2f}",
                f"{seconds:.2f}",
                *(f"{error:.3f}" for error in errors),
                *(f"{1e3 * each.divergence.mean.value:.2f}" for each in found),
                *(f"{each.perplexity.value:.4f}" for each in found),
                f"{oracle[f'{MODEL}-{mixture}']['ppl']:.4f}",
            ]
            print(f"| {mixture} | {' | '.join(cells)} |", flush=True)


def compared(exact: Engine, path: Path, text: str) -> Comparison:
    with Engine(path, device="cpu") as engine:
        return compare(exact, engine, text)


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


if __name__ == "__main__":
    main()
