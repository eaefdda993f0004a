"""Chatting: the options of it, and a conversation in a terminal."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from smelt.cli.completion import print_pieces, print_stats
from smelt.cli.engine import open_engine
from smelt.cli.text import UsageError

if TYPE_CHECKING:
    from smelt import Engine

__all__ = ["add_chat_arguments", "converse", "first_messages", "is_conversation", "most_tokens"]

PLAIN_TOKENS = 128
"""Tokens that a text is continued by; an answer goes on until the model ends it."""


def add_chat_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether the model answers, and what it is told first."""
    group = parser.add_argument_group("chat")
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="have the model answer the prompt, by its own chat template, instead of continuing "
        "it; without a prompt, hold a conversation (default: only without MODEL)",
    )
    group.add_argument(
        "--system", metavar="TEXT", help="what the model is told before all else, for --chat"
    )


def most_tokens(args: argparse.Namespace) -> int | None:
    """The argument of --max-tokens as the Engine takes it."""
    if args.max_tokens is None:
        return None if args.chat else PLAIN_TOKENS
    return None if args.max_tokens < 0 else int(args.max_tokens)


def first_messages(args: argparse.Namespace, prompt: str) -> list[dict[str, str]]:
    """A conversation that begins with this prompt."""
    return [*_system(args), {"role": "user", "content": prompt}]


def is_conversation(args: argparse.Namespace) -> bool:
    """Whether somebody sits there to chat. UsageError for options that do not go together."""
    if args.system is not None and not args.chat:
        raise UsageError("--system needs --chat")
    if not args.chat or (args.text, args.prompt, args.file) != (None,) * 3:
        return False
    if not sys.stdin.isatty():
        return False
    if args.json:
        raise UsageError("--json needs a prompt")
    return True


def converse(args: argparse.Namespace, options: dict[str, Any]) -> int:
    """Asks and answers until the end of the input; the exit code.

    Ctrl-C ends an answer, which stays part of the conversation as far as it went.
    """
    with suppress(ImportError):
        import readline  # noqa: F401  # lets input() edit lines and remember them

    with open_engine(args, args.n_ctx) as engine:
        _ = engine.chat_template  # an error now, not after the first question
        print("Ctrl-C stops an answer, Ctrl-D ends the conversation.", file=sys.stderr)
        messages = _system(args)
        n_kept = len(messages)
        while (question := _ask()) is not None:
            if not question.strip():
                continue
            messages.append({"role": "user", "content": question})
            stream = engine.start(
                _fitting(engine, messages, n_kept),
                most_tokens(args),
                stop=args.stop or (),
                **options,
            )
            print_pieces(stream, "", silent=False)
            completion = stream.completion()
            if completion.finish_reason == "length":
                print("[cut off: --max-tokens or the context is reached]", file=sys.stderr)
            if args.stats:
                print_stats(completion, None)
            messages.append({"role": "assistant", "content": completion.text})
    return 0


def _system(args: argparse.Namespace) -> list[dict[str, str]]:
    return [] if args.system is None else [{"role": "system", "content": args.system}]


def _ask() -> str | None:
    """A line, or None where nobody wants to say anything more."""
    try:
        return input("\n> ")
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def _fitting(engine: Engine, messages: list[dict[str, str]], n_kept: int) -> list[int]:
    """The tokens of the conversation; of a long one the oldest turns are dropped.

    Half of the context stays free for the answer. The system's message, `n_kept`, stays.
    """
    ids = engine.chat_template.encode(messages)
    while len(ids) > engine.n_ctx // 2 and len(messages) > n_kept + 2:
        del messages[n_kept : n_kept + 2]
        ids = engine.chat_template.encode(messages)
    return ids
