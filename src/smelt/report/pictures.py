"""The pictures of a report: what each is called, what it shows, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from ..tokenizer.labels import token_label
from .plots import plot_attention, plot_error, plot_lens, plot_rms
from .surprise import percent
from .text_plot import plot_surprise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..tokenizer import Tokenizer
    from .depth import ErrorByDepth, LayerRms
    from .findings import Findings
    from .lens import Lens
    from .surprise import Surprise

__all__ = ["Picture", "error_picture", "pictures"]

CELL = 9  # letters of a token in a cell of the logit lens


@dataclass(frozen=True)
class Picture:
    """title: what question it answers; caption: what it shows and how to read it; here: what it
    shows this time, or ""."""

    name: str
    title: str
    caption: str
    here: str
    draw: Callable[[], Figure]


def pictures(findings: Findings, tokenizer: Tokenizer) -> list[Picture]:
    """Those of one run: surprise, lens, rms, attention."""
    lens, rms = findings.lens, findings.rms

    chunks = findings.surprise.chunks(tokenizer)

    def draw_lens() -> Figure:
        labels = [[token_label(tokenizer, int(t), CELL) for t in row] for row in lens.tokens]
        return plot_lens(lens, labels, [token_label(tokenizer, t, CELL) for t in lens.read])

    return [
        Picture(
            "surprise",
            "Which tokens came as a surprise",
            "The text as the model read it: the stronger a token's colour, the less probable the "
            "model had thought it from what stands before it. Tokens without colour were foreseen.",
            _surprise_here(findings.surprise),
            lambda: plot_surprise(chunks),
        ),
        Picture(
            "lens",
            "How the answer takes shape, layer by layer (logit lens)",
            "Each column is a token that the model has just read (of a longer text the last ones), "
            "each row a layer, from the input at the bottom to the finished answer at the top. A "
            "cell names the token that the model would say next if it stopped there; the lighter "
            "the cell, the more probable it holds that token. Cells in bold agree with the "
            "finished answer. ␣ is a space.",
            _lens_here(lens, tokenizer),
            draw_lens,
        ),
        Picture(
            "rms",
            "How large the activations are",
            "From layer to layer the model carries a vector for every token along, the residual "
            "stream, to which each layer's attention and feed-forward block add. The lines are "
            "the root mean square of these vectors, of the median token; the blue area reaches "
            "from the token with the smallest stream to that with the largest. Growth towards the "
            "last layer is usual, and a first token far above the rest. A line that falls to "
            "nothing, or leaps where another file of the same model is flat, shows a broken layer.",
            _rms_here(rms),
            lambda: plot_rms(rms),
        ),
        Picture(
            "attention",
            "Where attention heads look",
            "Each square is one attention head. A row is a token, and the colours in it say how "
            "that token shares its attention among the tokens before it and itself: dark is none, "
            "yellow is all (small shares are drawn apart more than large ones). Above each square "
            "stand the two places where the head looks most. Unless heads were chosen (--heads), "
            "these are ones that look in different places. A head with nothing to find looks at "
            "the first token, a yellow first column; a line beside the diagonal is a head that "
            "looks at the token before.",
            "",
            lambda: plot_attention(findings.maps, findings.labels),
        ),
    ]


def error_picture(compared: ErrorByDepth) -> Picture:
    """That of two runs."""
    here = ""
    if compared.first is not None:
        at = compared.first
        error = compared.errors[at]
        what = (
            f"its relative error is {error:.2g}" if isfinite(error) else "it gave NaN or infinity"
        )
        here = f"The first op out of tolerance is {compared.ops[at]}: {what}."
    else:
        here = "Every op is within its tolerance."
    return Picture(
        "error",
        "How far two runs are apart",
        f"The same text was run twice: A is {compared.name_a}, B is {compared.name_b}. Above, each "
        "dot is one op, from the first on the left to the last on the right, and its height the "
        "relative difference between the two runs (10⁻² is 1 %); an op without a dot gave the "
        "same in both. The dashed line is the most that rounding and an op's inputs explain. Below "
        "stands how large the values are in both; these lines should lie on each other. A slow "
        "rise is rounding that adds up; a sudden step is where a fault begins.",
        here,
        lambda: plot_error(compared),
    )


def _surprise_here(found: Surprise) -> str:
    if not isfinite(found.mean_bits):
        return ""
    count = f"{found.perplexity:.1f}" if found.perplexity < 100 else f"{found.perplexity:,.0f}"
    return (
        f"On average a token carries {found.mean_bits:.2f} bits of surprise: the model is as "
        f"unsure as if it had to choose between {count} equally "
        "probable tokens (its perplexity on this text)."
    )


def _lens_here(lens: Lens, tokenizer: Tokenizer) -> str:
    label = token_label(tokenizer, int(lens.tokens[-1, -1]), CELL)
    settled, last = int(lens.settled()[-1]) - 1, len(lens.tokens) - 2
    when = f"the most probable token from layer {settled} on"
    if settled == last:
        when = f"the most probable token only after layer {last}, the last"
    elif settled < 0:
        when = "the most probable token at every depth"
    chance = percent(lens.probabilities[-1, -1])
    return f"After the whole text, the answer is “{label}” with a probability of {chance}: {when}."


def _rms_here(rms: LayerRms) -> str:
    first, last = rms.stream.middle[0], rms.stream.middle[-1]
    return (
        f"The median token's stream begins at {first:.3g} and ends at {last:.3g}; the largest "
        f"of all tokens reaches {rms.stream.highest.max():.3g}."
    )
