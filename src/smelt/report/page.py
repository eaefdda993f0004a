"""The report as one HTML page that needs nothing else: no network, no script.

What it shows comes from a GGUF file and a prompt, which are hostile input: the template escapes
everything but the SVG elements, in which matplotlib has escaped all texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from math import isfinite
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..printable import printable
from ..tokenizer.labels import token_label
from .figures import inline_svg
from .surprise import LEVEL_NAMES
from .text_plot import ALPHAS

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer
    from .pictures import Picture
    from .surprise import Chunk, Scored, Surprise

__all__ = ["percent", "render"]

N_WORST = 6
CONTEXT = 4  # tokens shown before a surprising one
SCALE = 1.25  # CSS pixels a point of a figure: its smallest letters are then 9 pixels high


def render(
    title: str,
    facts: Sequence[tuple[str, str]],
    found: Surprise,
    tokenizer: Tokenizer,
    pictures: Sequence[Picture],
    note: str = "",
) -> str:
    """The page. facts: (name, value) of what ran; note: what is to be known first, or ""."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    source = resources.files("smelt.report").joinpath("page.html.j2").read_text("utf-8")
    chunks = found.chunks(tokenizer)
    return environment.from_string(source).render(
        title=printable(title),
        facts=facts,
        note=note,
        n_tokens=len(found.tokens),
        alphas=ALPHAS,
        level_names=LEVEL_NAMES,
        chunks=[_span(chunk, tokenizer) for chunk in chunks],
        special=any(chunk.special for chunk in chunks),
        summary=_summary(found),
        worst=_worst(found, tokenizer),
        following=_following(found, tokenizer),
        pictures=[_inlined(picture) for picture in pictures],
        version=__version__,
    )


def percent(probability: float) -> str:
    """As many digits as tell something: 97 %, 4.2 %, 0.031 %, 2e-07 %."""
    value = 100 * probability
    if value >= 9.95 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.995 else f"{value:.2g} %"


def _summary(found: Surprise) -> str:
    if not isfinite(found.mean_bits):
        return "There is only one token, which nothing stands before."
    return (
        f"On average a token carries {found.mean_bits:.2f} bits of surprise: the model is as "
        f"unsure as if it had to choose between {found.perplexity:.1f} equally probable tokens "
        "(its perplexity on this text)."
    )


def _span(chunk: Chunk, tokenizer: Tokenizer) -> dict[str, Any]:
    lines = [printable(line) for line in re.split(r"\r?\n", chunk.text)]
    return {
        "text": "⏎\n".join(lines).replace("\\t", "\t"),
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


def _worst(found: Surprise, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The tokens of the last two levels that surprised most, the worst first."""

    def bits(place: int) -> float:
        return found.tokens[place].bits or 0.0

    places = sorted(range(1, len(found.tokens)), key=bits, reverse=True)[:N_WORST]
    return [
        {
            "place": place + 1,
            "token": token_label(tokenizer, found.tokens[place].token_id),
            "probability": percent(2.0 ** -bits(place)),
            "before": _labels(found.tokens[max(0, place - CONTEXT) : place], tokenizer),
            "expected": token_label(tokenizer, found.tokens[place].expected[0][0]),
            "expected_probability": percent(found.tokens[place].expected[0][1]),
        }
        for place in places
        if bits(place) > 1
    ]


def _labels(tokens: Sequence[Scored], tokenizer: Tokenizer) -> str:
    return "".join(token_label(tokenizer, token.token_id) for token in tokens)


def _following(found: Surprise, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    largest = found.following[0][1]
    return [
        {
            "token": token_label(tokenizer, token),
            "probability": percent(p),
            "width": f"{100 * p / largest:.1f}",
        }
        for token, p in found.following
    ]


def _inlined(picture: Picture) -> dict[str, Any]:
    from markupsafe import Markup

    figure = picture.draw()
    svg = inline_svg(figure, picture.name, picture.title)
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "here": picture.here,
        "width": round(72 * SCALE * figure.get_figwidth()),
        "svg": Markup(svg),  # escaped by matplotlib, and by inline_svg
    }
