"""Pictures of a model at work: what `smelt report` and `smelt surprise` show.

    from smelt import Engine
    from smelt.report import draw, examine, write_page

    with Engine("model.gguf") as engine:
        findings = examine(engine, engine.tokenize("Once upon a time"))
        write_page(findings, engine, "report.html")
        draw(findings, engine.tokenizer, "attention", "attention.svg")

`findings` are plain numbers (surprise, lens, rms, habits, maps), and the functions of plots.py make
matplotlib figures of such; examine() alone needs no matplotlib.
"""

from .findings import Findings, examine
from .pictures import Picture, pictures
from .surprise import Surprise, measure_surprise
from .write import PICTURES, draw, draw_error, write_page

__all__ = [
    "PICTURES",
    "Findings",
    "Picture",
    "Surprise",
    "draw",
    "draw_error",
    "examine",
    "measure_surprise",
    "pictures",
    "write_page",
]
