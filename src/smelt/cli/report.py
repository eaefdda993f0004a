"""`smelt report`: pictures of a model at work, in one HTML page or one by one."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from smelt.cli.console import progress_bar
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import UsageError, add_text_arguments, integer_from, read_text

if TYPE_CHECKING:
    from smelt import Engine
    from smelt.report.attention import Head
    from smelt.report.depth import ErrorByDepth

SUMMARY = "draw what happens inside a model while it reads a text"
USAGE = "%(prog)s MODEL [PROMPT | -p PROMPT | -f FILE] [-o FILE] [options]"
DESCRIPTION = """\
Lets a model read a text and draws what happens inside: which tokens came as a
surprise, what the model expects next, its most probable token after every layer
(logit lens), how large activations are, and where attention heads look. All is
written as one HTML page that needs nothing else, or one picture as PNG or SVG.
The pictures need matplotlib: pip install 'smelt[plot]'.
"""
EXAMPLES = """\
examples:
  smelt report model.gguf -p "The capital of France is" -o report.html
  smelt report model.gguf -f story.txt --picture attention --heads 0.1,3.2 -o heads.svg
  smelt report model.gguf "Once upon a time" --picture lens -o lens.png
  smelt report model-Q4_K_M.gguf -f text.txt --against model-F16.gguf
  smelt report model.gguf "Once" --against reference --picture error
"""

PICTURES = ("surprise", "lens", "rms", "attention", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    add_text_arguments(parser, "PROMPT")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="an .html file, or with --picture a .png or .svg file (default: report.html, or the "
        "picture's name with .png)",
    )
    parser.add_argument("--picture", choices=PICTURES, help="draw only this")
    parser.add_argument(
        "--heads",
        type=lambda text: text.split(","),
        metavar="L.H,...",
        help="attention heads to draw, as LAYER.HEAD, such as 0.1,3.2 (default: six that look in "
        "different places)",
    )
    parser.add_argument(
        "--against",
        metavar="B",
        help="run the text again as B and draw how far the runs are apart, op by op; B is as in "
        "`smelt diff`: another model, the same as model.gguf,device=cpu, a run file, or reference",
    )
    parser.add_argument(
        "--tokens",
        type=integer_from(1),
        default=256,
        metavar="N",
        help="how many tokens of the text are read at most (default: 256)",
    )
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if (args.picture == "error") > (args.against is not None):
        raise UsageError("--picture error needs --against B, the run to compare with")
    target = _target(args)
    text = read_text(args)

    from smelt.new_file import check_place
    from smelt.report.figures import require_matplotlib

    check_place(target)
    require_matplotlib()
    with open_engine(args, None) as engine:
        ids = engine.tokenize(text, parse_special=args.parse_special)
        limit = min(args.tokens, engine.n_ctx)
        note = f"The text has {len(ids)} tokens, of which the first {limit} were read."
        note = note if len(ids) > limit else ""
        heads = _heads(args.heads, engine)
        from smelt.report import draw, draw_error, examine, write_page

        ids = ids[:limit]
        compared = None if args.against is None else _compared(engine, ids, args.against)
        if compared and args.picture == "error":
            draw_error(compared, target)
        else:
            with progress_bar("reading") as progress:
                findings = examine(engine, ids, heads, progress)
            if args.picture:
                draw(findings, engine.tokenizer, args.picture, target)
            else:
                write_page(findings, engine, target, note, compared)
    print(" ".join([f"{target}: {len(ids)} token{'s' * (len(ids) != 1)}.", note]).strip())
    return 0


def _target(args: argparse.Namespace) -> Path:
    """Where to write; UsageError for a name that does not fit what is drawn."""
    kinds = (".png", ".svg") if args.picture else (".html", ".htm")
    target = Path(args.output or (f"{args.picture}.png" if args.picture else "report.html"))
    if target.suffix.lower() not in kinds:
        hint = "" if args.picture else "; for one picture add --picture NAME"
        raise UsageError(f"-o {target}: expected a name that ends in {' or '.join(kinds)}{hint}")
    return target


def _heads(texts: list[str] | None, engine: Engine) -> list[Head] | None:
    from smelt.report.attention import parse_head

    c = engine.config
    if texts is None:
        return None
    return list(dict.fromkeys(parse_head(text, c.n_layers, c.n_heads) for text in texts))


def _compared(engine: Engine, ids: list[int], against: str) -> ErrorByDepth:
    """The Engine's run beside that of a side of `smelt diff`, or of the reference device."""
    from smelt.diff import compare
    from smelt.diff.sides import Side, open_sides, parse_side
    from smelt.report.depth import error_by_depth

    model = engine.model.file.path
    with TemporaryDirectory(prefix="smelt-") as folder:
        traced = Path(folder) / "run.npz"
        engine.trace(ids, path=traced, fused=False).close()
        reference = Side(model, "model", {"device": "reference"})
        other = reference if against == "reference" else parse_side(against)
        with progress_bar("comparing") as progress:
            sides = (Side(traced, "run"), other)
            a, b = open_sides(sides, None, Path(folder), progress=progress)
        with a, b:
            return error_by_depth(compare(a, b))
