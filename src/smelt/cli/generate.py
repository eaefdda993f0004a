"""`smelt generate`: continues a text, printing it as it is made."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from smelt.cli.chat import (
    add_chat_arguments,
    converse,
    first_messages,
    is_conversation,
    most_tokens,
)
from smelt.cli.completion import print_pieces, print_stats, report
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import UsageError, add_text_arguments, integer_from, print_json, read_text
from smelt.errors import SamplingError

SUMMARY = "continue a text, tell a story, or chat"
USAGE = "%(prog)s [MODEL] [PROMPT | -p PROMPT | -f FILE] [options]"
DESCRIPTION = """\
Continues a text and prints what the model writes as it is made. Without MODEL,
the small storyteller that comes with smelt answers. Without sampling options
the most likely token is always taken, so that the same prompt gives the same
text.
"""
EXAMPLES = """\
examples:
  smelt generate "Tell me a story about a fox who is afraid of the dark"
  smelt generate "A story about a dragon in a library" --temperature 0.7
  smelt generate --chat
  smelt generate model.gguf "Once upon a time" --max-tokens 64
  smelt generate model.gguf -f prompt.txt --temperature 0.8 --top-p 0.95
  smelt generate model.gguf --chat "What is the capital of Peru?"
  git diff | smelt generate model.gguf --stop $'\\n\\n' --echo
  smelt generate model.gguf "2 + 2 =" --max-tokens 1 --logprobs 5 --json
"""

# Options of smelt.sampling.SamplingParams, which checks their ranges.
SAMPLING: list[tuple[str, type, str]] = [
    ("temperature", float, "0 takes the most likely token; 1 samples as the model says"),
    ("top_k", int, "only the N most likely tokens (0: all)"),
    ("top_p", float, "only the most likely tokens that sum to this probability (1: all)"),
    ("min_p", float, "only tokens this fraction as likely as the most likely one (0: all)"),
    ("typical_p", float, "only the most typical tokens that sum to this probability (1: all)"),
    ("repetition_penalty", float, "above 1 makes recent tokens less likely"),
    ("presence_penalty", float, "taken off the logits of recent tokens"),
    ("frequency_penalty", float, "taken off the same, once for each time they occurred"),
    ("penalty_window", int, "how many tokens are recent (default: 64; -1: all)"),
    ("seed", int, "of the random numbers (default: a new one each time)"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a GGUF file; of a split model the first (default: the storyteller of smelt)",
    )
    add_text_arguments(parser, "PROMPT")
    add_chat_arguments(parser)
    parser.add_argument(
        "-n",
        "--max-tokens",
        type=integer_from(-1),
        metavar="N",
        help="how many tokens to add at most (default: 128, in a chat -1: until the model ends)",
    )
    parser.add_argument(
        "--stop",
        action="append",
        metavar="TEXT",
        help="end before this text; may be given several times",
    )
    _add_sampling_arguments(parser.add_argument_group("sampling"))
    add_engine_arguments(parser)
    parser.add_argument(
        "--n-ctx", type=integer_from(1), metavar="N", help="context (default: the model's)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--echo", action="store_true", help="print the prompt first")
    output.add_argument("--stats", action="store_true", help="print the timings to stderr")
    output.add_argument(
        "--json", action="store_true", help="print one JSON object when all is done"
    )
    output.add_argument(
        "--logprobs",
        type=integer_from(0),
        metavar="N",
        help="with --json: log probabilities of the tokens and of the N most likely ones",
    )


def _add_sampling_arguments(group: argparse._ArgumentGroup) -> None:
    for name, kind, text in SAMPLING:
        option = "--" + name.replace("_", "-")
        group.add_argument(option, type=kind, metavar="N" if kind is int else "X", help=text)
    group.add_argument(
        "--logit-bias",
        action="append",
        type=_bias,
        metavar="ID=X",
        help="added to the logit of a token; -inf bans it; may be given several times",
    )


def _bias(text: str) -> tuple[int, float]:
    token, _, amount = text.partition("=")
    try:
        return int(token), float(amount)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected ID=X, found {text!r}") from None


def run(args: argparse.Namespace) -> int:
    if args.logprobs is not None and not args.json:
        raise UsageError("--logprobs needs --json")
    options = _sampling_options(args)
    settle_model(args)
    if is_conversation(args):
        return converse(args, options)
    prompt = read_text(args)
    started = time.perf_counter()
    with open_engine(args, args.n_ctx) as engine:
        load_seconds = time.perf_counter() - started
        stream = engine.start(
            engine.chat_template.encode(first_messages(args, prompt)) if args.chat else prompt,
            most_tokens(args),
            stop=args.stop or (),
            logprobs=args.logprobs,
            parse_special=args.parse_special,
            **options,
        )
        interrupted = print_pieces(stream, prompt if args.echo else "", silent=args.json)
        completion = stream.completion()
    if args.json:
        print_json(report(completion, prompt, load_seconds))
    if args.stats:
        print_stats(completion, load_seconds)
    return 130 if interrupted else 0


def settle_model(args: argparse.Namespace) -> None:
    """Finds out whether the only positional argument is the model or the prompt, and whether to
    chat: with the storyteller that comes with smelt, unless told otherwise."""
    only_one = args.model is not None and (args.text, args.prompt, args.file) == (None,) * 3
    if only_one and not args.model.endswith(".gguf") and not os.path.isfile(args.model):
        args.model, args.text = None, args.model
    if args.chat is None:
        args.chat = args.model is None


def _sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling options that were given; UsageError for one out of range."""
    from smelt.sampling import SamplingParams

    given = {name: getattr(args, name) for name, _, _ in SAMPLING}
    given["logit_bias"] = dict(args.logit_bias) if args.logit_bias else None
    given = {name: value for name, value in given.items() if value is not None}
    try:
        SamplingParams(**given)
    except SamplingError as error:
        raise UsageError(str(error)) from None
    return given
