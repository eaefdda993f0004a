"""`smelt bench`: how fast a model runs on this machine, beside what the machine could do."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smelt.cli.console import print_heading, print_table, print_text, progress_bar
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import UsageError, integer_from, picture_file, print_json, size_text

if TYPE_CHECKING:
    from smelt.benchmark import Benchmark, Rate, Session

SUMMARY = "measure how fast a model runs, and how far from the machine's limits"
USAGE = "%(prog)s MODEL [options]"
DESCRIPTION = """\
Measures prefill (reading prompts) and decode (generating), for prompts of
several lengths and batches of several sequences, and beside them what this
machine can do: bytes a second from memory, and arithmetic in registers. A step
has to read all weights once and to multiply them with every token; the share of
the limit says how close smelt comes to that. Rounds over all cases go on for
--seconds; Ctrl-C ends them early and shows what there is.
"""
EXAMPLES = """\
examples:
  smelt bench model.gguf
  smelt bench model.gguf --prompts 128,2048 --batches 1,8 --threads 2
  smelt bench model.gguf --seconds 120 --json > speed.json
  smelt bench model.gguf --plot speed.svg
"""
PROMPTS = (128, 512)
STEADY = 0.85  # of the best sample of a limit: what the middle one reaches on an idle machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    parser.add_argument(
        "--prompts",
        type=_integers,
        metavar="N,...",
        help="lengths of prompts in tokens (default: 128,512, as far as the model goes)",
    )
    parser.add_argument(
        "--batches",
        type=_integers,
        default=[1, 4],
        metavar="N,...",
        help="sequences at a time; more than one only with the shortest prompt (default: 1,4)",
    )
    parser.add_argument(
        "--generate",
        type=integer_from(1),
        default=16,
        metavar="N",
        help="tokens generated after each prompt, a sample each (default: 16)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=integer_from(1),
        default=30,
        metavar="N",
        help="for how long rounds are begun, at least one (default: 30)",
    )
    length.add_argument("--rounds", type=integer_from(1), metavar="N", help="exactly so many")
    add_engine_arguments(parser)
    parser.add_argument(
        "--plot", type=picture_file, metavar="FILE", help="draw a .png or .svg file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _integers(text: str) -> list[int]:
    return sorted({integer_from(1)(part) for part in text.split(",")})


def run(args: argparse.Namespace) -> int:
    if args.plot:
        from smelt.report.figures import check_target

        check_target(args.plot)
    prompts = _prompts(args.model, args.prompts, args.generate)
    with open_engine(args, max(prompts) + args.generate) as engine:
        from smelt.benchmark import Case, Session

        cases = [Case(prompt) for prompt in prompts]
        cases += [Case(min(prompts), batch) for batch in args.batches]
        session = Session(engine, cases, args.generate)
        complete = _go_round(session, args.rounds, args.seconds)
        result = session.result()
    if args.json:
        print_json(as_dict(result))
    else:
        show(result)
    if args.plot:
        from smelt.benchmark.plot import plot

        plot(result, args.plot)
    return 0 if complete else 130


def _prompts(path: str, wanted: list[int] | None, generated: int) -> list[int]:
    """Those that are wanted, or those of PROMPTS that fit the model's context, or what does."""
    from smelt.model import Model

    n_ctx = Model(path).config.n_ctx
    room = n_ctx - generated
    prompts = wanted or [n for n in PROMPTS if n <= room] or [max(room, 1)]
    if max(prompts) > room:
        raise UsageError(
            f"a prompt of {max(prompts)} tokens and {generated} more are too long for this model, "
            f"whose context is {n_ctx}"
        )
    return prompts


def _go_round(session: Session, rounds: int | None, seconds: int) -> bool:
    """Whether the rounds ended by themselves; KeyboardInterrupt before the first one is done."""
    with progress_bar("bench") as progress:
        try:
            while session.rounds < (rounds or 1) or (rounds is None and session.seconds < seconds):
                done, n = session.rounds * len(session.cases), len(session.cases)
                a_round = session.seconds / session.rounds if session.rounds else seconds
                expected = rounds or max(session.rounds + 1, round(seconds / a_round))
                for at, case in enumerate(session.case_by_case(), 1):
                    note = f"{case.batch} × {case.prompt} tokens"
                    progress(done + at, expected * n, note)
        except KeyboardInterrupt:
            if not session.rounds:
                raise
            return False
    return True


def as_dict(result: Benchmark) -> dict[str, Any]:
    """All of a result, and the shares of the limits."""
    report = asdict(result)
    for entry, case in zip(report["cases"], result.cases, strict=True):
        entry["prefill"]["fraction"] = case.prefill.fraction
        entry["decode"]["fraction"] = case.decode.fraction
    return report


def show(result: Benchmark) -> None:
    """The table of a result."""
    print_heading(f"{Path(result.model).name} on {result.device}")
    facts = [
        ("a step", f"{result.ops} ops, {result.barriers} barriers"),
        ("", f"reads {size_text(result.weight_bytes)} of weights"),
        ("a token", f"{result.operations / 1e9:.3g} G operations"),
        ("", f"{size_text(result.kv_bytes)} of KV cache"),
    ]
    if result.limits:
        limits = result.limits
        facts += [
            ("this machine", f"reads {limits.read / 1e9:.1f} GB/s"),
            ("", f"{limits.dot / 1e9:.0f} G int16 operations/s (for quantised weights)"),
            ("", f"{limits.fma / 1e9:.0f} G float32 operations/s"),
        ]
    print_table(facts, ("", ""))
    for kind in ("prefill", "decode"):
        print()
        print_heading(f"{kind}, tokens/s")
        rows = [_row(case.prompt, case.batch, getattr(case, kind)) for case in result.cases]
        headers = (">prompt", ">batch", ">median", "quartiles", ">limit", "", ">reached")
        print_table(rows, headers[: len(rows[0])])
    print()
    rounds = "1 round" if result.n_rounds == 1 else f"{result.n_rounds} rounds"
    print_text(f"{rounds} in {result.seconds:.0f} s")
    if result.steadiness is not None and result.steadiness < STEADY:
        print_text(
            "This machine had other work: half of the samples of its limits reached no more than "
            f"{result.steadiness:.0%} of the best one. On an idle one the model is faster."
        )


def _row(prompt: int, batch: int, rate: Rate) -> tuple[str, ...]:
    spread = f"{_number(rate.low)} to {_number(rate.high)}"
    row = (f"{prompt}", f"{batch}", _number(rate.median), spread)
    if rate.limit is None or rate.fraction is None:
        return row
    return (*row, _number(rate.limit), f"by {rate.bound}", f"{rate.fraction:.0%}")


def _number(rate: float) -> str:
    """Three digits and more: 8.53, 85.3, 853, 8532."""
    return f"{rate:.{0 if rate >= 100 else 1 if rate >= 10 else 2}f}"
