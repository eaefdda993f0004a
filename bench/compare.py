"""smelt beside llama.cpp on the same files, interleaved in one run, and the machine's limits.

    pip install xllamacpp matplotlib
    python bench/compare.py FILE.gguf ... --json docs/speed.json --plot docs/speed.png

Both engines are loaded once a file; then rounds of (smelt, llama.cpp) alternate, so that whatever
else the machine does hits both. Numbers are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from limits import fma_peak, read_bandwidth
from rich.console import Console
from rich.progress import track
from rich.table import Table

from smelt.plan import plan

PREFILL, DECODE = 512, 64


class Child:
    """An engine in its own process."""

    def __init__(self, name: str, path: Path, threads: int):
        command = [sys.executable, str(Path(__file__).with_name("engines.py")), name, str(path)]
        self.process = subprocess.Popen(
            [*command, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.read()

    def read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with code {self.process.wait()}")
        return line

    def measure(self, command: str, n_tokens: int) -> float:
        assert self.process.stdin
        print(command, n_tokens, file=self.process.stdin, flush=True)
        return float(self.read())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Result:
    """Medians of one file: tokens a second by engine, and what the machine could do."""

    model: str
    gigabytes: float  # of weights that a decoded token reads
    gigaflops: float  # of a prefilled token
    bandwidth: float
    peak: float
    decode: dict[str, float] = field(default_factory=dict)
    prefill: dict[str, float] = field(default_factory=dict)

    @property
    def decode_limit(self) -> float:
        return self.bandwidth / self.gigabytes

    @property
    def prefill_limit(self) -> float:
        return self.peak / self.gigaflops


def measure(path: Path, threads: int, rounds: int, names: list[str], console: Console) -> Result:
    """Interleaved rounds over one file."""
    described = plan(path)
    numbers = described.as_dict()
    matrices = [w for w in described.program.weights if len(w.shape) == 2]
    n_weights = sum(w.n_in * w.n_out for w in matrices if w.name != "token_embd.weight")
    children = {name: Child(name, path, threads) for name in names}
    decode: dict[str, list[float]] = {name: [] for name in names}
    prefill: dict[str, list[float]] = {name: [] for name in names}
    bandwidth, peak = [], []
    for number in track(range(rounds + 1), path.stem, console=console, transient=True):
        for name, child in children.items():
            rates = child.measure("decode", DECODE), child.measure("prefill", PREFILL)
            if number:  # the first round warms up
                decode[name].append(rates[0])
                prefill[name].append(rates[1])
        bandwidth.append(read_bandwidth(threads))
        peak.append(fma_peak(threads))
    for child in children.values():
        child.close()
    return Result(
        model=path.stem,
        gigabytes=numbers["weight_bytes"] / 1e9,
        gigaflops=2 * n_weights / 1e9,
        bandwidth=statistics.median(bandwidth),
        peak=statistics.median(peak),
        decode={name: statistics.median(rates) for name, rates in decode.items()},
        prefill={name: statistics.median(rates) for name, rates in prefill.items()},
    )


def table(results: list[Result], names: list[str], threads: int, kind: str) -> Table:
    """What a person reads of "decode" or of "prefill"."""
    n_tokens, limit = (DECODE, "bandwidth") if kind == "decode" else (PREFILL, "f32 peak")
    shown = Table(title=f"{kind} of {n_tokens} tokens, {threads} threads: tokens/s")
    shown.add_column("model", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right")
    shown.add_column("ratio", justify="right")
    shown.add_column(f"of {limit}", justify="right")
    for r in results:
        rates, most = getattr(r, kind), getattr(r, f"{kind}_limit")
        other = rates.get("llama.cpp")
        ratio = f"{rates['smelt'] / other:.2f}" if other else "-"
        speeds = [f"{rates[name]:.1f}" for name in names]
        shown.add_row(r.model, *speeds, ratio, f"{rates['smelt'] / most:.0%}")
    return shown


def plot(results: list[Result], names: list[str], path: Path) -> None:
    """Bars of tokens/s by file, decode and prefill, with the machine's limit as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"smelt": "#0072B2", "llama.cpp": "#E69F00"}  # Okabe and Ito: for every eye
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
    kinds = (("decode", "decode_limit", "read bandwidth"), ("prefill", "prefill_limit", "f32 peak"))
    for axis, (kind, limit, what) in zip(axes, kinds, strict=True):
        width = 0.8 / len(names)
        for n, name in enumerate(names):
            at = [i + (n - (len(names) - 1) / 2) * width for i in range(len(results))]
            bars = axis.bar(
                at,
                [getattr(r, kind)[name] for r in results],
                width,
                label=name,
                color=colours[name],
            )
            axis.bar_label(bars, fmt="%.0f", fontsize=8)
        for i, r in enumerate(results):
            label = f"limit: {what}" if i == 0 else None
            axis.hlines(getattr(r, limit), i - 0.45, i + 0.45, colors="black", label=label)
        axis.set_xticks(range(len(results)), [r.model.split("-", 1)[-1] for r in results])
        axis.set_ylabel("tokens/s")
        axis.set_title(f"{kind} of {DECODE if kind == 'decode' else PREFILL} tokens")
        axis.legend(
            fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.07), frameon=False
        )
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="smelt only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    console = Console()
    names = ["smelt"] if arguments.alone else ["smelt", "llama.cpp"]
    results = [
        measure(path, arguments.threads, arguments.rounds, names, console)
        for path in arguments.models
    ]
    for kind in ("decode", "prefill"):
        console.print(table(results, names, arguments.threads, kind))
    if arguments.json:
        rows: list[dict[str, Any]] = [asdict(r) for r in results]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.plot:
        plot(results, names, arguments.plot)


if __name__ == "__main__":
    main()
