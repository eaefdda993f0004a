"""The arguments that every command with an Engine has, and its loading."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from smelt.cli.console import spinner
from smelt.cli.text import integer_from

if TYPE_CHECKING:
    from smelt import Engine

__all__ = ["add_engine_arguments", "open_engine"]


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Where and how the model runs."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--device",
        default="auto",
        help="auto (the fastest), metal, cpu, or reference (slow, exact)",
    )
    group.add_argument(
        "--threads",
        type=integer_from(1),
        metavar="N",
        help="threads of the CPU (default: one a core)",
    )
    group.add_argument(
        "--kv-type",
        choices=("f16", "f32"),
        default="f16",
        help="precision of the KV cache (default: f16)",
    )


def open_engine(args: argparse.Namespace, n_ctx: int | None) -> Engine:
    """The Engine for the arguments' model, with a spinner while it loads."""
    with spinner(f"loading {args.model or 'the storyteller of smelt'}"):
        from smelt import Engine

        engine = Engine(
            args.model,
            device=args.device,
            n_ctx=n_ctx,
            threads=args.threads,
            kv_type=args.kv_type,
        )
        _ = engine.tokenizer  # otherwise built with the first prompt
        return engine
