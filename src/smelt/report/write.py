"""Writing a report: the page, or one of its pictures."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SmeltError
from ..new_file import replacing
from .figures import save
from .page import render
from .pictures import error_picture, pictures

if TYPE_CHECKING:
    from ..engine import Engine
    from ..tokenizer import Tokenizer
    from .depth import ErrorByDepth
    from .findings import Findings

__all__ = ["PICTURES", "draw", "draw_error", "write_page"]

PICTURES = ("surprise", "lens", "rms", "attention")


def draw(findings: Findings, tokenizer: Tokenizer, name: str, path: str | os.PathLike[str]) -> None:
    """Writes one of PICTURES to a .png or .svg file.

    SmeltError for another name or ending, or where matplotlib is missing.
    """
    made = {picture.name: picture for picture in pictures(findings, tokenizer)}
    if name not in made:
        raise SmeltError(f"there is no picture {name!r}; there are {', '.join(PICTURES)}")
    picture = made[name]
    save(picture.draw(), Path(path), picture.title, picture.caption)


def draw_error(compared: ErrorByDepth, path: str | os.PathLike[str]) -> None:
    """Writes the picture of two runs' error by depth, as draw() does."""
    picture = error_picture(compared)
    save(picture.draw(), Path(path), picture.title, picture.caption)


def write_page(
    findings: Findings,
    engine: Engine,
    path: str | os.PathLike[str],
    note: str = "",
    compared: ErrorByDepth | None = None,
) -> None:
    """Writes the whole report as one HTML page.

    note: a sentence that stands at its beginning; compared: two runs to draw beside each other.
    """
    name = engine.config.name or engine.model.file.path.name
    made = pictures(findings, engine.tokenizer)
    if compared is not None:
        made.append(error_picture(compared))
    title = f"How {name} reads a text"
    page = render(title, _facts(engine), findings.surprise, engine.tokenizer, made, note)
    with replacing(Path(path)) as file:
        file.write(page.encode())


def _facts(engine: Engine) -> list[tuple[str, str]]:
    """What ran, for the head of the page."""
    c = engine.config
    sizes: Counter[str] = Counter()
    for weight in engine.model.weights.values():
        sizes[weight.format] += weight.nbytes
    formats = ", ".join(name.upper() for name, _ in sizes.most_common(3))
    return [
        ("File", engine.model.file.path.name),
        (
            "Model",
            f"{c.architecture}, {c.n_layers} layers of {c.n_heads} attention heads, vectors of "
            f"{c.d_model} numbers, {c.n_vocab:,} different tokens",
        ),
        ("Weights", f"{formats}, {sum(sizes.values()) / 2**20:,.1f} MiB"),
        ("Ran on", engine.device),
    ]
