"""`smelt compare`: how far a model's predictions are from those of another, larger one."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from smelt.cli.console import print_heading, print_table, print_text, progress_bar
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.perplexity import add_chunk_arguments
from smelt.cli.text import print_json, read_file

if TYPE_CHECKING:
    from smelt.comparison import Comparison, Distribution, Estimate
    from smelt.completion import Perplexity

SUMMARY = "compare a model's predictions with those of the model it was made from"
USAGE = "%(prog)s BASE MODEL FILE [options]"
DESCRIPTION = """\
Runs two models of the same vocabulary over a text, such as a quantised one and
the one it was made from, and shows how far their predictions are apart: the
Kullback-Leibler divergence, how often both find the same token most likely, how
much the probability of the text's own tokens changes, and the ratio of the
perplexities. All as llama.cpp's llama-perplexity --kl-divergence defines them.
"""
EXAMPLES = """\
examples:
  smelt compare model-F16.gguf model-Q4_K_M.gguf wiki.test.raw
  smelt compare model-F16.gguf model-Q4_K_M.gguf wiki.test.raw --chunks 20
  smelt compare model-F16.gguf model-Q8_0.gguf held.txt --json | jq .divergence.mean
"""
SHOWN_PERCENTILES = (99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="the GGUF file that counts as right")
    parser.add_argument("model", metavar="MODEL", help="the GGUF file to be judged")
    add_chunk_arguments(parser)
    add_engine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    text = read_file(args.file)
    base_args = argparse.Namespace(**{**vars(args), "model": args.base})
    with open_engine(base_args, args.n_ctx) as base, open_engine(args, args.n_ctx) as model:
        from smelt import compare

        with progress_bar("comparing") as progress:
            result = compare(base, model, text, args.n_ctx, chunks=args.chunks, progress=progress)
    if args.json:
        print_json({"base_model": args.base, "model": args.model, **asdict(result)})
    else:
        show(result, args.base, args.model)
    return 0


def show(result: Comparison, base: str, model: str) -> None:
    """The tables of a comparison."""
    print_heading(f"{Path(model).name} beside {Path(base).name}")
    print_table(
        [
            ("perplexity", *_number(result.perplexity, 4)),
            ("perplexity of the base", *_number(result.base, 4)),
            ("ratio", *_number(result.ratio, 6)),
            ("ln ratio", *_number(result.log_ratio, 6)),
            ("correlation of the losses", f"{100 * result.correlation:.3f} %", ""),
            ("same most likely token", *_percent(result.same_top)),
            ("rms Δp", *_percent(result.rms_change)),
        ],
        ("", "", ""),
    )
    print()
    print_heading("by token: divergence from the base; Δp, the change of p of the text's token")
    print_table(_rows(result.divergence, result.change), ("", ">KL, nats", "", ">Δp", ""))
    print()
    print_text(f"{result.n_tokens:,} tokens scored in {result.n_chunks} chunks of {result.n_ctx}")


def _rows(divergence: Distribution, change: Distribution) -> list[tuple[str, ...]]:
    def row(name: str, kl: float, dp: float) -> tuple[str, ...]:
        return name, f"{kl:.6f}", "", f"{100 * dp:+.3f} %", ""

    def percentile(percent: float) -> tuple[str, ...]:
        name = "median" if percent == 50 else f"{percent:.1f} %"
        return row(name, divergence.percentiles[percent], change.percentiles[percent])

    return [
        ("mean", *_number(divergence.mean, 6), *_percent(change.mean, "+")),
        row("maximum", divergence.maximum, change.maximum),
        *map(percentile, SHOWN_PERCENTILES),
        row("minimum", divergence.minimum, change.minimum),
    ]


def _number(estimate: Estimate | Perplexity, digits: int) -> tuple[str, str]:
    return f"{estimate.value:.{digits}f}", f"± {estimate.stderr:.{digits}f}"


def _percent(estimate: Estimate, sign: str = "") -> tuple[str, str]:
    return f"{100 * estimate.value:{sign}.3f} %", f"± {100 * estimate.stderr:.3f}"
