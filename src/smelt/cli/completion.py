"""A completion as a command shows it: piece by piece, as JSON, and its timings."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smelt import Completion, Piece

__all__ = ["print_pieces", "print_stats", "report"]


def print_pieces(stream: Iterable[Piece], first: str, *, silent: bool) -> bool:
    """Prints `first` and the pieces, each at once, and ends the line; whether Ctrl-C came."""
    text = first
    try:
        for piece in chain([first], (piece.text for piece in stream)):
            if piece and not silent:
                print(piece, end="", flush=True)
                text = piece
    except KeyboardInterrupt:
        return True
    finally:
        if not silent and not text.endswith("\n"):
            print(flush=True)
    return False


def report(completion: Completion, prompt: str, load_seconds: float) -> dict[str, Any]:
    """The completion for --json; one that Ctrl-C ended is "cancelled"."""
    timings = completion.timings
    rates = {
        "load_seconds": load_seconds,
        "prompt_per_second": timings.prompt_per_second,
        "generated_per_second": timings.generated_per_second,
    }
    report = asdict(completion)
    report["finish_reason"] = completion.finish_reason or "cancelled"
    report["timings"] |= rates
    return {"prompt": prompt, **report}


def print_stats(completion: Completion, load_seconds: float | None) -> None:
    """The timings, on stderr; those of loading only where it is told."""
    timings = completion.timings
    if load_seconds is not None:
        print(f"load        {load_seconds:.2f} s", file=sys.stderr)
    lines = (
        f"prompt      {timings.prompt_tokens} tokens in {timings.prompt_seconds:.2f} s, "
        f"{timings.prompt_per_second:.1f} tokens/s",
        f"generation  {timings.generated_tokens} tokens in {timings.generate_seconds:.2f} s, "
        f"{timings.generated_per_second:.1f} tokens/s",
        f"ended by    {completion.finish_reason or 'cancelled'}, seed {completion.seed}",
    )
    print(*lines, sep="\n", file=sys.stderr)
