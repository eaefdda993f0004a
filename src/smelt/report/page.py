"""The report as one HTML page that needs nothing else: no network, no script.

What it shows comes from a GGUF file and a prompt, which are hostile input: the template escapes
everything but the SVG elements, in which matplotlib has escaped all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..printable import printable, printable_text
from ..tokenizer.labels import token_label, visible
from .figures import inline_svg
from .surprise import LEVEL_NAMES, percent
from .text_plot import ALPHAS

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer
    from .pictures import Picture
    from .surprise import Chunk, Surprise

__all__ = ["render"]

N_WORST = 6
CONTEXT = 24  # letters shown before a surprising token
LEAST = 1e-4  # probability of a next token that is listed
SHRINK = 0.75  # a figure is scrolled where it would have to be smaller than that
SCALE = 1.25  # CSS pixels a point of a figure: its smallest letters are then 9 pixels high


def render(
    title: str,
    facts: Sequence[tuple[str, str]],
    found: Surprise,
    tokenizer: Tokenizer,
    pictures: Sequence[Picture],
    note: str = "",
) -> str:
    """The page. pictures: the first is the text itself, which the page writes in its own letters;
    facts: (name, value) of what ran; note: what is to be known first, or ""."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    source = resources.files("smelt.report").joinpath("page.html.j2").read_text("utf-8")
    chunks = found.chunks(tokenizer)
    text, *drawn = pictures
    return environment.from_string(source).render(
        title=printable(title),
        facts=facts,
        note=note,
        n_tokens=len(found.tokens),
        alphas=ALPHAS,
        level_names=LEVEL_NAMES,
        chunks=[_span(chunk, tokenizer) for chunk in chunks],
        special=any(chunk.special for chunk in chunks),
        surprise=text,
        worst=_worst(chunks, tokenizer),
        following=_following(found, tokenizer),
        pictures=[_inlined(picture) for picture in drawn],
        version=__version__,
    )


def _span(chunk: Chunk, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "text": printable_text(chunk.text).replace("\n", "⏎\n"),
        "level": chunk.level,
        "special": chunk.special,
        "tip": _tip(chunk, tokenizer),
    }


def _tip(chunk: Chunk, tokenizer: Tokenizer) -> str:
    """What pointing at a token shows."""
    bits = chunk.bits
    if bits is None:
        return "the first token: nothing stands before it"
    first = chunk.tokens[0]
    expected = ", ".join(
        f"{token_label(tokenizer, token)} {percent(p)}" for token, p in first.expected[:3]
    )
    rank = f", number {first.rank} of its guesses" if len(chunk.tokens) == 1 else ""
    return f"{percent(2.0**-bits)}, {bits:.1f} bits{rank}; expected {expected}"


def _worst(chunks: Sequence[Chunk], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The chunks that surprised most, the worst first; none that had a chance of one in two."""

    def bits(at: int) -> float:
        return chunks[at].bits or 0.0

    surprising = [at for at in range(len(chunks)) if chunks[at].level]
    worst = sorted(surprising, key=bits, reverse=True)[:N_WORST]
    rows = []
    for at in worst:
        expected, p = chunks[at].tokens[0].expected[0]
        before = "".join(chunk.text for chunk in chunks[:at])[-CONTEXT:]
        rows.append(
            {
                "before": visible(before),
                "token": visible(chunks[at].text),
                "probability": percent(2.0 ** -bits(at)),
                "expected": token_label(tokenizer, expected),
                "expected_probability": percent(p),
            }
        )
    return rows


def _following(found: Surprise, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    largest = found.following[0][1]
    return [
        {
            "token": token_label(tokenizer, token),
            "probability": percent(p),
            "width": f"{100 * p / largest:.1f}",
        }
        for token, p in found.following
        if p >= LEAST or p == largest
    ]


def _inlined(picture: Picture) -> dict[str, Any]:
    from markupsafe import Markup

    figure = picture.draw()
    width = 72 * SCALE * figure.get_figwidth()
    svg = inline_svg(figure, picture.name, picture.title)
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "here": picture.here,
        "width": round(width),
        "least": round(SHRINK * width),
        "svg": Markup(svg),  # escaped by matplotlib, and by inline_svg
    }
