"""Arguments that commands share, texts from wherever they come, and how things are shown."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smelt.errors import TokenizerError
from smelt.printable import printable

__all__ = [
    "UsageError",
    "add_text_arguments",
    "integer_from",
    "picture_file",
    "print_json",
    "printable",
    "read_file",
    "read_text",
    "size_text",
]


class UsageError(Exception):
    """The arguments do not go together; shown with the usage of the command."""


def integer_from(lowest: int) -> Callable[[str], int]:
    """The type of an argument that is an integer of at least `lowest`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f"expected an integer from {lowest}, found {text!r}")
        return number

    return parse


def picture_file(text: str) -> Path:
    """The type of an argument that names a picture to be written."""
    if Path(text).suffix.lower() not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"expected a name ending in .png or .svg, found {text!r}")
    return Path(text)


def add_text_arguments(parser: argparse.ArgumentParser, metavar: str) -> None:
    """The text as an argument, as -p, from a file, or from stdin where none of them is given; and
    whether special tokens are recognised in it."""
    parser.add_argument(
        "text", metavar=metavar, nargs="?", help="the text; without it, stdin is read"
    )
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument(
        "-p",
        "--prompt",
        metavar=metavar,
        help="the same; --prompt=-x takes a text that begins with a dash",
    )
    sources.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="read the text from FILE (- is stdin); one newline at its end is dropped",
    )
    parser.add_argument(
        "--parse-special",
        action="store_true",
        help=f"turn spellings of special tokens in the {metavar.lower()} into these tokens",
    )


def read_text(args: argparse.Namespace) -> str:
    """The text that the arguments of add_text_arguments name.

    Raises UsageError where there are two, or none and stdin is a terminal, TokenizerError for a
    file that is not UTF-8, and OSError for one that cannot be read.
    """
    if args.text is not None and (args.prompt, args.file) != (None, None):
        raise UsageError("the text is given twice")
    direct: str | None = args.prompt if args.text is None else args.text
    if direct is not None:
        return direct
    if args.file is None and sys.stdin.isatty():
        raise UsageError("no text: give it as an argument, with -f FILE, or pipe it in")
    return read_file(args.file or "-").removesuffix("\n")


def read_file(path: str) -> str:
    """A file, or stdin where `path` is "-", as it is; TokenizerError if it is not UTF-8."""
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        name = "stdin" if path == "-" else path
        raise TokenizerError(
            f"{name}: expected a text in UTF-8, found byte 0x{data[error.start]:02x} at offset "
            f"{error.start}"
        ) from None


def print_json(report: Any, indent: int | None = None) -> None:
    """Prints a report; what JSON has no number for, NaN and the infinities, is null."""
    print(json.dumps(_finite(report), indent=indent, ensure_ascii=False, allow_nan=False))


def _finite(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: _finite(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_finite(item) for item in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def size_text(nbytes: int) -> str:
    """As many digits as one wants to read: 4.13 MiB."""
    if nbytes < 1024:
        return f"{nbytes} B"
    size, unit = nbytes / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.2f} {unit}"
