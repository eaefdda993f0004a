"""Matplotlib figures without pyplot: one style, files, and SVG that takes a page's colours."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SmeltError
from ..new_file import check_place, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "MUTED",
    "ORANGE",
    "RED",
    "check_target",
    "inline_svg",
    "new_figure",
    "require_matplotlib",
    "save",
]

# Okabe and Ito's palette (2008), told apart by colour-blind people and on light and dark ground.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"

# Of text, of what matters less, and of lines. inline_svg() turns them into the page's own.
INK, MUTED, GRID = "#1f2328", "#6a737d", "#c9ced4"
PAGE_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    BLUE: "var(--accent)",  # too dark on a dark page
}

FORMATS = (".png", ".svg")
LETTERS_AN_INCH = 14.5  # of a caption
DPI = 160  # of PNG files: sharp on a dense screen, some 100 KB

STYLE: dict[Any, Any] = {  # matplotlib 3.11 types the keys, earlier ones do not
    "svg.fonttype": "none",  # text stays text: searchable, small, and in the reader's own fonts
    "svg.hashsalt": "smelt",  # the same picture is the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a token such as "$\\frac" is text
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def require_matplotlib() -> None:
    """SmeltError that says what to install, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SmeltError(
            "pictures are drawn with matplotlib, which is not installed; "
            "install it with: pip install 'smelt[plot]'"
        ) from None


def check_target(path: Path) -> None:
    """What can be known before there is anything to draw: SmeltError where matplotlib is missing,
    or for an ending other than .png and .svg; OSError where no file can be written."""
    if path.suffix.lower() not in FORMATS:
        raise SmeltError(f"{path}: a picture ends in {' or '.join(FORMATS)}")
    check_place(path)
    require_matplotlib()


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure, in inches, in the house style; SmeltError where matplotlib is missing."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path, title: str, caption: str) -> None:
    """Writes a figure to a .png or .svg file, on white, under a title and above its caption.

    SmeltError for another ending.
    """
    check_target(path)
    import matplotlib

    with matplotlib.rc_context(STYLE):
        _annotate(figure, title, caption)
    with replacing(path) as file:
        file.write(_drawn(figure, path.suffix.lower()[1:], "white"))


def _annotate(figure: Figure, title: str, caption: str) -> None:
    """Makes room for a title above and a caption below what is drawn, and writes them there."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(width * LETTERS_AN_INCH))
    heading = textwrap.wrap(title, int(width * LETTERS_AN_INCH * 0.68))  # bold and larger
    above, below = 0.22 + 0.23 * len(heading), 0.25 + 0.16 * len(lines)
    whole = above + height + below
    figure.set_size_inches(width, whole)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, below / whole, 1, height / whole))
    else:
        for axes in figure.axes:
            axes.set_position((0, below / whole, 1, height / whole))
    left = 0.1 / width
    figure.text(left, 1 - 0.12 / whole, "\n".join(heading), va="top", fontsize=12, weight="bold")
    figure.text(left, (below - 0.12) / whole, "\n".join(lines), va="top", fontsize=8.5, color=MUTED)


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an <svg> element for an HTML page, which gives the
    variables of PAGE_COLOURS.

    name: goes before every id, so that two figures of a page do not share any; label: what a
    screen reader says. The text in it is escaped, and it refers to nothing outside itself.
    """
    from html import escape

    text = _drawn(figure, "svg", "none").decode()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    head, body = text[text.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[\d. ]+"', head)
    assert box is not None
    # the text between tags is the model's and the prompt's: it stays as it is
    body = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag[0], name), body)
    return f'<svg role="img" aria-label="{escape(label)}" {box[0]}>{body.strip()}'


def _page_tag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    for colour, variable in PAGE_COLOURS.items():
        tag = tag.replace(colour, variable)
    return tag


def _drawn(figure: Figure, kind: str, background: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # a letter that no font here has: SVG leaves it to the reader's, PNG shows a box
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(
            buffer, format=kind, dpi=DPI, facecolor=background, metadata=metadata, transparent=False
        )
    return buffer.getvalue()
