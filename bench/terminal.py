"""What compare.py and scaling.py show: progress on a terminal only, tables as wide as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.progress import track


def rounds(n: int, of: str) -> Iterable[int]:
    """The numbers below n, with a bar that goes when they are done."""
    return track(range(n), of, transient=True, disable=not sys.stdout.isatty())


def console(width: int) -> Console:
    """Where tables go: width columns where there is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width)
