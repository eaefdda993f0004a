"""`smelt diff`: the first op where two runs of one prompt part."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from smelt.cli.console import (
    is_narrow,
    print_facts,
    print_heading,
    print_table,
    print_text,
    progress_bar,
)
from smelt.cli.text import UsageError, picture_file, print_json, read_file

if TYPE_CHECKING:
    from smelt.diff import Diff, Difference
    from smelt.diff.replay import Verdict
    from smelt.trace import Run, TracedValue

SUMMARY = "find the first op where two runs of a prompt part"
USAGE = "%(prog)s A [B] [-p PROMPT | -f FILE] [options]"
DESCRIPTION = """\
Runs one prompt twice, compares what every op made, and names the first op whose
result differs by more than its inputs, the formats and the devices explain.
Each side is a model with options, a run file of `smelt trace`, or a .npz dump
of llama.cpp's tensors. Without B, A is compared with the reference: the same
model in float64. The exit code is 1 if an op is out of tolerance.
"""
EXAMPLES = """\
a model's options: MODEL[,device=cpu|metal|reference][,isa=NAME][,kv=f16|f32]
[,threads=N][,fused]; a dump's: DUMP.npz[,prompt=NAME]

examples:
  smelt diff model.gguf -p "Once upon a time"
  smelt diff model.gguf,device=metal model.gguf,device=cpu
  smelt diff model.gguf,isa=avx2 model.gguf,isa=scalar
  smelt diff model.gguf,fused model.gguf -f prompt.txt
  smelt diff model-Q4_K_M.gguf model-F16.gguf --plot error.png
  smelt diff run.npz model.gguf,device=reference
  smelt diff model.gguf,kv=f32 oracle/model.npz,prompt=hello
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a model, a run file or a dump")
    parser.add_argument(
        "b", metavar="B", nargs="?", help="what it is measured against (default: the reference)"
    )
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument(
        "-p",
        "--prompt",
        metavar="PROMPT",
        help="the text (default: that of a run file or dump, or a short sentence)",
    )
    prompts.add_argument("-f", "--file", metavar="FILE", help="read it from FILE (- is stdin)")
    parser.add_argument(
        "--pattern",
        action="append",
        metavar="GLOB",
        help="only values whose names match, such as 'blk.*.out'; may be given several times",
    )
    parser.add_argument(
        "--tolerance",
        type=_factor,
        default=1.0,
        metavar="X",
        help="multiply all tolerances (default: 1)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="where nothing is out of tolerance, also run each op of both sides again in float64 "
        "on its own inputs (always done for two formats, which lie far apart)",
    )
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help="draw error by depth as a .png or .svg file",
    )
    parser.add_argument("--all", action="store_true", help="show every value that was compared")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return factor


def run(args: argparse.Namespace) -> int:
    from smelt.diff import compare
    from smelt.diff.replay import check, explain, formats_differ
    from smelt.diff.sides import Side, open_sides, parse_side

    if args.plot:
        from smelt.report.figures import check_target

        check_target(args.plot)
    a = parse_side(args.a)
    if args.b is not None:
        b = parse_side(args.b)
    elif a.kind == "model":
        b = Side(a.path, "model", {"device": "reference"})
    else:
        raise UsageError("B is needed where A is no model")
    prompt = args.prompt if args.file is None else read_file(args.file).removesuffix("\n")
    with TemporaryDirectory(prefix="smelt-diff-") as folder:
        with progress_bar("trace") as progress:
            runs = open_sides((a, b), prompt, Path(folder), args.pattern, progress)
        with runs[0], runs[1]:
            with progress_bar("compare") as progress:
                diff = compare(*runs, scale=args.tolerance, progress=progress)
            if diff.first is None and (args.check or formats_differ(diff)):
                with progress_bar("check") as progress:
                    check(diff, progress)
            verdict = None if diff.first is None else explain(diff, diff.first)
            if args.plot:
                from smelt.report import draw_error
                from smelt.report.depth import error_by_depth

                draw_error(error_by_depth(diff), args.plot)
            if args.json:
                print_json(_report(diff, verdict))
            else:
                show(diff, verdict, args.all)
    return 0 if diff.first is None else 1


def show(diff: Diff, verdict: Verdict | None, everything: bool) -> None:
    """The two sides, the first op out of tolerance and why, and a table."""
    n, n_wrong = len(diff.differences), len(diff.wrong)
    n_equal = sum(d.verdict == "ok" and d.distance.largest == 0 for d in diff.differences)
    equal = f", {'all' if n_equal == n else n_equal} equal" if n_equal else ""
    count = f"{n} values of {diff.b.n_tokens} tokens compared{equal}"
    if diff.first is None:
        print_heading(f"{count}: all within tolerance")
    else:
        print_heading(f"{count}: {n_wrong} op{'s' * (n_wrong != 1)} out of tolerance")
    print_facts((side, _what(traced)) for side, traced in (("A", diff.a), ("B", diff.b)))
    if diff.first is not None:
        print()
        _show_first(diff, diff.first, verdict)
    if diff.bad:
        print_facts(_bad(diff))
    unmatched = [name for side in (diff.a, diff.b) for name in getattr(side, "unmatched", [])]
    if unmatched:
        print_text(f"no counterpart: {', '.join(unmatched)}")
    if n_equal == n and not everything:
        return
    print()
    if everything:
        _show_table(diff.differences)
    elif diff.first is None:
        print_heading("the value of each kind that is nearest to its tolerance")
        _show_table(_by_role(diff.differences))
    else:
        print_heading("around the first op out of tolerance (--all shows the rest)")
        at = diff.differences.index(diff.first)
        near = diff.differences[max(0, at - 6) : at + 7]
        _show_table([*near, *(d for d in diff.wrong if d not in near)])


def _what(run: Run) -> str:
    info = run.info
    if info.device == "llama.cpp":
        return f"{info.model}, {info.name.rpartition(' ')[2]}: tensors of llama.cpp"
    kind = "fused" if info.fused else "unfused"
    return f"{info.model} on {info.device}, {kind}, cache in {info.kv_type}"


def _show_first(diff: Diff, first: Difference, verdict: Verdict | None) -> None:
    layer = f" of layer {first.value.layer}" if first.value.layer >= 0 else ""
    tensor = f" ({first.tensor})" if first.tensor else ""
    print_heading(f"first: {first.value.name}{tensor}, {first.value.op}{layer}")
    facts = []
    if first.verdict != "missing":
        d = first.distance
        facts = [
            (
                "error",
                f"{first.error:.2g}, allowed {first.allowed:.2g}, at token "
                f"{_token(diff, first.token)}",
            ),
            ("inputs", ", ".join(f"{name} {e:.2g}" for name, e in first.inputs.items()) or "none"),
            (
                "largest",
                f"{d.largest:.3g} at token {_token(diff, d.token)}, element {_element(d.element)}: "
                f"{d.value_a:.5g} in A, {d.value_b:.5g} in B",
            ),
        ]
    facts += [("program", note) for note in first.notes]
    if verdict:
        *judged, last = verdict.lines or [""]
        facts += [("float64", line) for line in judged]
        facts += (
            [("so", last.removeprefix("so "))] if last.startswith("so ") else [("float64", last)]
        )
    print_facts(fact for fact in facts if fact[1])


def _bad(diff: Diff) -> Iterator[tuple[str, str]]:
    for difference, bad in diff.bad:
        value = difference.value
        yield (
            str(bad.value),
            f"first in {bad.side.upper()}'s {value.name} ({value.op}), token "
            f"{_token(diff, bad.token)}, element {_element(bad.element)}",
        )


def _token(diff: Diff, token: int) -> str:
    texts = diff.a.info.token_texts if any(diff.a.info.token_texts) else diff.b.info.token_texts
    return f"{token} {texts[token]!r}" if token < len(texts) and texts[token] else str(token)


def _element(element: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, element)) + "]"


def _by_role(differences: list[Difference]) -> list[Difference]:
    """Of each name without its layer the one that is nearest to its tolerance."""
    worst: dict[str, Difference] = {}
    for d in differences:
        role = _role(d.value) + d.tensor.partition("-")[0]
        if role not in worst or d.error / d.allowed > worst[role].error / worst[role].allowed:
            worst[role] = d
    return list(worst.values())


def _role(value: TracedValue) -> str:
    return value.name.removeprefix(f"blk.{value.layer}.")


def _show_table(differences: list[Difference]) -> None:
    tensors = any(d.tensor for d in differences)
    columns = ["value", *(["tensor"] if tensors else []), "op", ">error", ">allowed", ">relative"]
    columns += [">cosine", ">largest", "at token", ""]
    narrow = {"op", ">relative", ">cosine"} if is_narrow(110) else set()
    rows = []
    for d in differences:
        missing = d.verdict == "missing"
        cells = {
            "value": d.value.name,
            "tensor": d.tensor,
            "op": d.value.op,
            ">error": "" if missing else f"{d.error:.1e}",
            ">allowed": "" if missing else f"{d.allowed:.1e}",
            ">relative": "" if missing else f"{d.distance.relative:.1e}",
            ">cosine": "" if missing else f"{d.distance.cosine:.7f}",
            ">largest": "" if missing else f"{d.distance.largest:.2e}",
            "at token": "" if missing else f"{d.distance.token} {_element(d.distance.element)}",
            "": d.verdict if d.verdict == "follows" else d.verdict.upper().replace("OK", ""),
        }
        rows.append([cells[column] for column in columns if column not in narrow])
    print_table(rows, [column for column in columns if column not in narrow])


def _report(diff: Diff, verdict: Verdict | None) -> dict[str, Any]:
    def of(d: Difference) -> dict[str, Any]:
        x = d.distance
        numbers = {"error": d.error, "allowed": d.allowed, "token": d.token}
        numbers |= {"relative": x.relative, "cosine": x.cosine, "largest": x.largest}
        return {
            "value": d.value.name,
            "op": d.value.op,
            "layer": d.value.layer,
            "tensor": d.tensor or None,
            "verdict": d.verdict,
            **({} if d.verdict == "missing" else numbers),
            "largest_at": [x.token, list(x.element)],
            "inputs": d.inputs,
            "notes": d.notes,
        }

    return {
        "a": _what(diff.a),
        "b": _what(diff.b),
        "n_tokens": diff.b.n_tokens,
        "first": None if diff.first is None else of(diff.first),
        "at_fault": verdict.side or None if verdict else None,
        "explanation": verdict.lines if verdict else [],
        "not_finite": [
            {"side": bad.side, "value": d.value.name, "op": d.value.op, "token": bad.token}
            | {"element": list(bad.element), "number": str(bad.value)}
            for d, bad in diff.bad
        ],
        "values": [of(d) for d in diff.differences],
    }
