"""`smelt tokenize`: the token ids of a text and what each of them stands for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from smelt.cli.console import print_heading, print_table
from smelt.cli.text import add_text_arguments, print_json, read_text

if TYPE_CHECKING:
    from smelt.tokenizer import Tokenizer

SUMMARY = "show the token ids and the pieces of a text"
USAGE = "%(prog)s MODEL [TEXT | -p TEXT | -f FILE] [options]"
DESCRIPTION = """\
Shows the tokens of a text: their ids, and the text that each adds. Pieces in
quotes are text, the others special tokens; \\xe2 is a byte that is only a part
of a character. Files with a vocabulary and no weights will do.
"""
EXAMPLES = """\
examples:
  smelt tokenize model.gguf "Hello, world"
  smelt tokenize model.gguf --no-bos --ids "Hello, world"
  smelt tokenize model.gguf --parse-special "<|im_start|>user"
  smelt tokenize model.gguf --ids -f prompt.txt | wc -w
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file")
    add_text_arguments(parser, "TEXT")
    parser.add_argument(
        "--bos",
        action=argparse.BooleanOptionalAction,
        help="put the beginning-of-text token first, or not; by default as the model wants it",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--ids", action="store_true", help="print the ids only, in one line")
    output.add_argument("--json", action="store_true", help="print ids and pieces as JSON")


def run(args: argparse.Namespace) -> int:
    text = read_text(args)

    from smelt.tokenizer import Tokenizer
    from smelt.tokenizer.labels import token_piece

    tokenizer = Tokenizer.from_gguf(args.model)
    ids = tokenizer.encode(text, add_bos=args.bos, parse_special=args.parse_special)
    if args.ids:
        print(*ids)
    elif args.json:
        pieces = [token_piece(tokenizer, token) for token in ids]
        print_json({"ids": ids, "pieces": pieces})
    else:
        print_heading(f"{len(ids)} tokens" if len(ids) != 1 else "1 token")
        if ids:
            print_table([(token, _quoted(tokenizer, token)) for token in ids], (">id", "piece"))
    return 0


def _quoted(tokenizer: Tokenizer, token: int) -> str:
    from smelt.tokenizer.labels import token_piece

    piece = token_piece(tokenizer, token)
    return piece if tokenizer.is_special(token) else f'"{piece}"'
