"""The picture of a benchmark: tokens a second of every case, beside what the machine could do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..report.figures import BLUE, INK, MUTED, ORANGE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .session import Benchmark, Rate

__all__ = ["plot"]


def plot(result: Benchmark, path: Path) -> None:
    """Writes a .png or .svg file; SmeltError for another ending, or without matplotlib."""
    labels = [
        f"{case.prompt}" if case.batch == 1 else f"{case.batch} × {case.prompt}"
        for case in result.cases
    ]
    width = max(7.6, 2 + 1.4 * len(labels))
    with new_figure(width, 3.8) as figure:
        left, right = figure.subplots(1, 2)
        _bars(left, labels, [case.prefill for case in result.cases], BLUE, "prefill")
        _bars(right, labels, [case.decode for case in result.cases], ORANGE, "decode")
        save(figure, path, f"{Path(result.model).name} on {result.device}", _caption(result))


def _bars(
    axes: Axes, labels: Sequence[str], rates: Sequence[Rate], colour: str, title: str
) -> None:
    """One bar a case, its quartiles as a whisker, and the limit as a line above it."""
    at = range(len(rates))
    middle = [rate.median for rate in rates]
    spread = [[r.median - r.low for r in rates], [r.high - r.median for r in rates]]
    axes.bar(at, middle, 0.6, color=colour)
    axes.errorbar(at, middle, spread, fmt="none", ecolor=INK, elinewidth=1, capsize=3)
    for x, rate in enumerate(rates):
        if rate.limit is None or rate.fraction is None:
            continue
        axes.hlines(rate.limit, x - 0.4, x + 0.4, colors=INK, linewidth=1.5)
        axes.annotate(
            f"{rate.fraction:.0%} of\n{rate.bound}",
            (x, rate.limit),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=MUTED,
        )
    axes.margins(y=0.2)
    axes.set_ylim(bottom=0)
    axes.set_xticks(at, labels)
    axes.set_xlabel("prompt, tokens (sequences × tokens)")
    axes.set_ylabel("tokens/s")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, loc="left")


def _caption(result: Benchmark) -> str:
    text = (
        f"Bars: medians of {result.n_rounds} rounds, all sequences of a batch together; whiskers: "
        "quartiles."
    )
    if result.limits is None:
        return text
    limits = result.limits
    return (
        f"{text} Black lines: what this machine could do, by the {limits.read / 1e9:.1f} GB/s that "
        f"it reads from memory, or by the {limits.dot / 1e9:.0f} G int16 and "
        f"{limits.fma / 1e9:.0f} G float32 operations/s that it computes, all measured in between."
    )
