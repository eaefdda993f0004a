"""A text as a picture: every token on a ground that is the stronger the less it was foreseen."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..printable import printable
from .figures import RED, new_figure
from .surprise import LEVEL_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .surprise import Chunk

__all__ = ["ALPHAS", "Cell", "lay_out", "plot_surprise"]

# How opaque the ground of each level of surprise is.
ALPHAS = (0.0, 0.16, 0.36, 0.6, 0.9)

COLUMNS = 84
SIZE = 10.5  # points
ADVANCE = 0.602 * SIZE / 72  # inches a letter of DejaVu Sans Mono
LINE = 1.6 * SIZE / 72  # inches
GAP = 0.12  # columns between the grounds of neighbours
TAB = "    "


@dataclass(frozen=True)
class Cell:
    """A piece of text in a line, all of one token; width in columns."""

    line: int
    column: int
    text: str
    width: int
    level: int


def plot_surprise(chunks: Sequence[Chunk]) -> Figure:
    """The text in lines of 84 letters, and a legend beneath it."""
    from matplotlib.patches import Rectangle

    cells = lay_out(chunks)
    last = max((cell.line for cell in cells), default=0)
    cells += _legend(last + 2)
    with new_figure((COLUMNS + 2) * ADVANCE, (last + 4) * LINE) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-1, COLUMNS + 1), ylim=(last + 3.1, -0.9))
        axes.set_axis_off()
        for cell in cells:
            place = (cell.column, cell.line - 0.44)
            alpha = ALPHAS[cell.level]
            axes.add_patch(
                Rectangle(place, cell.width - GAP, 0.88, color=RED, alpha=alpha, linewidth=0)
            )
            for offset, word in _words(cell.text):
                axes.text(
                    cell.column + offset,
                    cell.line,
                    word,
                    va="center_baseline",
                    family="monospace",
                    fontsize=SIZE,
                )
    return figure


def lay_out(chunks: Sequence[Chunk], columns: int = COLUMNS) -> list[Cell]:
    """Cells of a text whose lines end where its own do, or at the last column."""
    cells = []
    line = column = 0
    for chunk in chunks:
        for part in chunk.text.replace("\t", TAB).splitlines(keepends=True) or [""]:
            shown = printable(part.rstrip("\r\n")) + "⏎" * part.endswith("\n")
            width = _width(shown)
            if column and column + width > columns:
                line, column = line + 1, 0
            cells.append(Cell(line, column, shown, width, chunk.level))
            column += width
            if part.endswith("\n"):
                line, column = line + 1, 0
    return cells


def _legend(line: int) -> list[Cell]:
    cells = []
    title = "probability:"
    column = len(title) + 1
    cells.append(Cell(line, 0, title, len(title), 0))
    for level, name in enumerate(LEVEL_NAMES):
        text = f" {name} "
        cells.append(Cell(line, column, text, len(text), level))
        column += len(text) + 1
    return cells


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Words and their columns: SVG would draw spaces in a row as one."""
    column = 0
    for word in text.split(" "):
        if word:
            yield column, word
        column += _width(word) + 1


def _width(text: str) -> int:
    """Columns of a text; East Asian letters take two."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
