"""`smelt trace`: what every op of a model makes of a prompt."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smelt.cli.console import is_narrow, print_heading, print_table, print_text, progress_bar
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import UsageError, add_text_arguments, print_json, read_text, size_text

if TYPE_CHECKING:
    from smelt.trace import Run, Statistics

SUMMARY = "record what every op makes of a prompt"
USAGE = "%(prog)s MODEL [PROMPT | -p PROMPT | -f FILE] [-o RUN.npz | --stats] [options]"
DESCRIPTION = """\
Evaluates a prompt and records what every op of the model made of it, by name:
into a file that `smelt diff`, `smelt report` and numpy.load read, or, with
--stats, as numbers alone. A prompt of any length is streamed to the file; one
that is long is best traced with --pattern. Without -o the numbers are shown.
"""
EXAMPLES = """\
examples:
  smelt trace model.gguf "Once upon a time" -o run.npz
  smelt trace model.gguf "Once upon a time" --stats
  smelt trace model.gguf -f long.txt -o run.npz --pattern 'blk.*.out' --pattern logits
  smelt trace model.gguf "Hello" --device metal --fused -o gpu.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    add_text_arguments(parser, "PROMPT")
    parser.add_argument("-o", "--output", metavar="RUN.npz", help="the file to write")
    parser.add_argument(
        "--pattern",
        action="append",
        metavar="GLOB",
        help="only values whose names match, such as 'blk.0.*'; may be given several times",
    )
    parser.add_argument(
        "--stats", action="store_true", help="only statistics: with -o, the file has no values"
    )
    program = parser.add_mutually_exclusive_group()
    program.add_argument(
        "--fused",
        action="store_true",
        default=None,
        help="the program as it generates, in which an op may stand for several (with --stats "
        "the default)",
    )
    program.add_argument(
        "--unfused",
        dest="fused",
        action="store_false",
        help="the plain ops, of which all can be seen (else the default)",
    )
    parser.add_argument(
        "--last-logits", action="store_true", help="logits of the last token, not of all"
    )
    add_engine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    prompt = read_text(args)
    if args.output and os.path.isdir(args.output):
        raise UsageError(f"-o {args.output} is a folder; name the file to write in it")
    with open_engine(args, None) as engine, progress_bar("trace") as progress:
        traced = engine.trace(
            prompt,
            pattern=args.pattern or "*",
            path=args.output,
            stats=args.stats or not args.output,
            fused=args.fused,
            last_logits=args.last_logits,
            parse_special=args.parse_special,
            progress=progress,
        )
    with traced:
        if args.json:
            print_json(_report(traced))
        elif args.output and not args.stats:
            size = size_text(os.path.getsize(args.output))
            print(f"{args.output}: {len(traced.names)} values, {_what(traced)}, {size}")
        else:
            show_statistics(traced)
    return 0


def show_statistics(run: Run) -> None:
    """A table with a line for each value that was looked at."""
    print_heading(f"{run.info.name or run.info.model}: {_what(run)}")
    bad = [name for name, s in run.statistics.items() if s.bad]
    columns = ["value", "op", ">shape", ">rms", ">min", ">max", ">mean", ">zeros"]
    columns += [">NaN", ">Inf"] if bad else []
    rows = [
        [
            value.name,
            value.op,
            "×".join(map(str, value.shape)),
            *_numbers(run.statistics, value.name),
        ]
        for value in run.values
        if value.name in run.statistics
    ]
    if is_narrow(100):
        columns.remove("op")
        rows = [[row[0], *row[2:]] for row in rows]
    print_table([row[: len(columns)] for row in rows], columns)
    if bad:
        row, element = run.statistics[bad[0]].bad or (0, 0)
        value = run.by_name[bad[0]]
        token = row if value.rows == "tokens" else run.info.logit_rows[row]
        print_text(
            f"the first that is not finite: {value.name} ({value.op}), token {token} "
            f"{run.info.token_texts[token]!r}, element {element}"
        )


def _what(run: Run) -> str:
    n = run.n_tokens
    kind = "fused" if run.info.fused else "unfused"
    return f"{n} token{'s' * (n != 1)} on {run.info.device}, {kind}"


def _numbers(statistics: Mapping[str, Statistics], name: str) -> list[str]:
    s = statistics[name]
    zeros = f"{s.zeros:.1%}" if s.n_zeros else ""
    numbers = [f"{x:.3g}" if s.n_finite else "" for x in (s.rms, s.min, s.max, s.mean)]
    return [*numbers, zeros, str(s.n_nan or ""), str(s.n_inf or "")]


def _report(run: Run) -> dict[str, Any]:
    values = []
    for value in run.values:
        if value.name in run.statistics:
            s = run.statistics[value.name]
            finite = (
                {"rms": s.rms, "min": s.min, "max": s.max, "mean": s.mean} if s.n_finite else {}
            )
            values.append(
                {"name": value.name, "op": value.op, "layer": value.layer, "shape": value.shape}
                | {"dtype": value.dtype or None, **finite, "zeros": s.zeros}
                | {"nan": s.n_nan, "inf": s.n_inf, "first_bad": s.bad}
            )
    info = run.info
    return {
        "model": info.model,
        "device": info.device,
        "fused": info.fused,
        "kv_type": info.kv_type,
        "file": None if run.path is None else str(run.path),
        "token_ids": info.token_ids,
        "values": values,
    }
