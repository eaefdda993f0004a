"""`smelt surprise`: a text, coloured by how well the model foresaw it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from smelt.cli.console import has_colours, print_coloured, print_table, spinner
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import add_text_arguments, integer_from, print_json, read_text
from smelt.printable import printable_text

if TYPE_CHECKING:
    from smelt.report import Surprise
    from smelt.tokenizer import Tokenizer

SUMMARY = "colour a text by how well the model foresaw each token"
USAGE = "%(prog)s MODEL [TEXT | -p TEXT | -f FILE] [options]"
DESCRIPTION = """\
Prints a text with every token coloured by the probability that the model gave
it from what stands before: what is plain was foreseen, what is orange was not.
Where the output is no terminal, or with --table, a line for each token.
"""
EXAMPLES = """\
examples:
  smelt surprise model.gguf "The capital of France is Rome."
  smelt surprise model.gguf -f story.txt --table
  smelt surprise model.gguf -f story.txt --json | jq .perplexity
  FORCE_COLOR=1 smelt surprise model.gguf -f story.txt | less -R
"""

# From grey to orange, and in the middle of light and dark: told apart on either, and by those who
# see no red and green. The first level has the terminal's own colours.
STYLES = ("", "black on #b4aea4", "black on #c79a63", "black on #e0822b", "black on #ff6a13")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    add_text_arguments(parser, "TEXT")
    parser.add_argument(
        "--tokens",
        type=integer_from(1),
        metavar="N",
        help="how many tokens of the text are read (default: as many as the context holds)",
    )
    add_engine_arguments(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--table", action="store_true", help="print a line for each token")
    output.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    text = read_text(args)
    with open_engine(args, None) as engine, spinner("reading"):
        from smelt.report.surprise import measure_surprise

        tokenizer = engine.tokenizer
        ids = engine.tokenize(text, parse_special=args.parse_special)
        limit = min(args.tokens or engine.n_ctx, engine.n_ctx)
        found = measure_surprise(engine, ids[:limit])
    if limit < len(ids) and args.tokens is None:
        print(
            f"smelt: the text has {len(ids)} tokens; the first {limit}, which the context holds, "
            "were read",
            file=sys.stderr,
        )
    if args.json:
        print_json(_report(found, tokenizer))
    elif args.table or not has_colours():
        _print_rows(found, tokenizer)
    else:
        _print_coloured(found, tokenizer)
    return 0


def _print_coloured(found: Surprise, tokenizer: Tokenizer) -> None:
    from smelt.report.surprise import LEVEL_NAMES

    parts = []
    for chunk in found.chunks(tokenizer):
        parts.append((printable_text(chunk.text), STYLES[chunk.level] + " italic" * chunk.special))
    print_coloured(parts)
    legend = [("\nprobability: ", "")]
    for name, style in zip(LEVEL_NAMES, STYLES, strict=True):
        legend += [(f" {name} ", style), (" ", "")]
    print_coloured(legend)
    print(_summary(found))


def _print_rows(found: Surprise, tokenizer: Tokenizer) -> None:
    from smelt.report.surprise import percent
    from smelt.tokenizer.labels import token_label

    rows = []
    for token in found.tokens:
        label = token_label(tokenizer, token.token_id)
        if token.bits is None or token.rank is None:
            rows.append((token.token_id, label, "", "", "", ""))
            continue
        expected, p = token.expected[0]
        wanted = "" if token.rank == 1 else f"{token_label(tokenizer, expected)} {percent(p)}"
        chance, bits = percent(2.0**-token.bits), f"{token.bits:.2f}"
        rows.append((token.token_id, label, chance, bits, str(token.rank), wanted))
    print_table(rows, (">id", "token", ">probability", ">bits", ">rank", "expected"))
    print(_summary(found))


def _summary(found: Surprise) -> str:
    n = len(found.tokens)
    if n == 1:
        return "1 token, which nothing stands before"
    return f"{n} tokens, {found.mean_bits:.3f} bits a token, perplexity {found.perplexity:.4g}"


def _report(found: Surprise, tokenizer: Tokenizer) -> dict[str, Any]:
    """Numbers for --json; the first token has none."""
    from smelt.tokenizer.labels import token_piece

    scored = len(found.tokens) > 1
    return {
        "mean_bits": found.mean_bits if scored else None,
        "perplexity": found.perplexity if scored else None,
        "tokens": [
            {
                "id": token.token_id,
                "piece": token_piece(tokenizer, token.token_id),
                "bits": token.bits,
                "probability": token.probability,
                "rank": token.rank,
                "expected": [list(pair) for pair in token.expected],
            }
            for token in found.tokens
        ],
        "next": [list(pair) for pair in found.following],
    }
