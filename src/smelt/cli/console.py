"""Tables and progress: laid out for a terminal, plain text where the output goes elsewhere."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from smelt.cli.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "has_colours",
    "is_narrow",
    "print_coloured",
    "print_facts",
    "print_heading",
    "print_table",
    "print_text",
    "progress_bar",
    "spinner",
]

# Where nobody wraps lines a row stays one line, for grep.
PLAIN_WIDTH = 4096


def is_narrow(columns: int) -> bool:
    """Whether the output is a terminal of fewer columns."""
    return sys.stdout.isatty() and shutil.get_terminal_size().columns < columns


def print_heading(text: str) -> None:
    """Prints the heading of a section."""
    from rich.text import Text

    _print(Text(printable(text), style="bold", no_wrap=True, overflow="ellipsis"))


def print_text(text: str) -> None:
    """Prints a sentence beneath a heading; a terminal wraps it."""
    from rich.padding import Padding
    from rich.text import Text

    _print(Padding(Text(printable(text)), (0, 0, 0, 2), expand=False))


def print_table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    """Prints rows in columns; a column whose header begins with ">" is flush right.

    In a terminal the last column is cut off where it would wrap. Cells are shown as they are,
    never as markup, control characters escaped. Headers that are all empty are left out.
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headers))
    for index, header in enumerate(headers):
        table.add_column(
            header.removeprefix(">"),
            justify="right" if header.startswith(">") else "left",
            no_wrap=index < len(headers) - 1,
        )
    for row in rows:
        table.add_row(
            *(Text(printable(str(cell)), no_wrap=True, overflow="ellipsis") for cell in row)
        )
    _print(Padding(table, (0, 0, 0, 2), expand=False))


def has_colours() -> bool:
    """Whether what is printed may have colours: by NO_COLOR and FORCE_COLOR, or in a terminal."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and console.color_system is not None and not console.no_color


def print_coloured(parts: Iterable[tuple[str, str]]) -> None:
    """Prints a running text of (text, style) parts; lines that are too long are wrapped."""
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text.assemble(*parts, overflow="fold"))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints lines of a label and a text beside each other; a terminal wraps the text."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for label, text in facts:
        grid.add_row(Text(printable(label)), Text(printable(text)))
    _print(Padding(grid, (0, 0, 0, 2), expand=False))


def _print(what: RenderableType) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(what)
        return
    buffer = io.StringIO()
    Console(file=buffer, width=PLAIN_WIDTH, color_system=None, force_terminal=False).print(what)
    print("\n".join(line.rstrip() for line in buffer.getvalue().splitlines()))


@contextmanager
def spinner(message: str) -> Iterator[None]:
    """Shows that something is under way, on stderr and only while that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(message))):
        yield


class Report(Protocol):
    """What progress_bar gives."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """So much of the whole is done; the note is what is known so far."""


@contextmanager
def progress_bar(label: str) -> Iterator[Report]:
    """Gives a function to be called with (done, of how many, note); shown as spinner() is."""
    if not sys.stderr.isatty():
        yield lambda done, total, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    note_column = TextColumn("{task.description}", markup=False)
    columns = (printable(label), BarColumn(), MofNCompleteColumn(), Remaining(), note_column)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, description=printable(note))

        yield report
