"""The command line: `smelt` and `python -m smelt`.

One module a command; each registers its arguments here and imports what it needs when it runs, so
that help and usage errors come at once. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 stopped
by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from smelt import __version__
from smelt.cli import (
    bench,
    compare,
    diff,
    generate,
    info,
    pack,
    perplexity,
    plan,
    quantize,
    report,
    surprise,
    tokenize,
    trace,
)
from smelt.cli.text import UsageError, printable
from smelt.errors import SmeltError

__all__ = ["main"]

COMMANDS = (
    generate,
    info,
    tokenize,
    perplexity,
    compare,
    plan,
    quantize,
    pack,
    bench,
    trace,
    diff,
    surprise,
    report,
)
EXAMPLES = """\
examples:
  smelt generate "Tell me a story about a fox who is afraid of the dark"
  smelt generate model.gguf "Once upon a time"
  smelt info model.gguf
  smelt COMMAND --help

SMELT_DEBUG=1 prints what happens layer by layer, and tracebacks.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; usage errors and --help raise SystemExit."""
    args = _parser().parse_args(argv)
    # A terminal that cannot show a character shall not end the program.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except UsageError as error:
        args.usage_error(str(error))  # raises SystemExit
        raise
    except KeyboardInterrupt:
        return _ended(130)
    except BrokenPipeError:
        return _ended(141)
    except Exception as error:
        if os.environ.get("SMELT_DEBUG", "0") not in ("", "0"):
            raise
        status = _ended(1)
        print(f"smelt: error: {printable(_message(error))}", file=sys.stderr)
        return status


class _CommandParser(argparse.ArgumentParser):
    """Takes `MODEL --option PROMPT` too: argparse ends an optional argument at the first option."""

    _intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # parse_known_intermixed_args calls this method for each of its two passes.
        if self._intermixed:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smelt",
        description="Run quantised language models from GGUF files.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"smelt {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        sub = commands.add_parser(
            name,
            usage=command.USAGE,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, usage_error=sub.error)
    return parser


def _message(error: Exception) -> str:
    if isinstance(error, SmeltError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    kind = type(error).__name__
    return f"{kind}: {error}; this is a fault of smelt: SMELT_DEBUG=1 shows where it happened"


def _ended(status: int) -> int:
    """The status, after what was printed so far has left, or can no longer leave."""
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes once more when it ends, and would complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
