"""The pictures of compare.py: bars of tokens a second, and a roofline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from smelt.report.figures import BLUE, GREEN, INK, MUTED, ORANGE, RED, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from compare import Comparison, Speed
    from smelt.limits import Limits

COLOURS = (BLUE, ORANGE, GREEN, RED)
MARKS = {"decode": "o", "prefill": "s"}
STEP = 0.78  # from one name to the next, on the log scale of a roofline
ABOVE = 1.3  # its slope, where that is named


def short_names(speeds: list[Speed]) -> list[str]:
    """What models are called beside each other: without what all names begin with."""
    names = [speed.model for speed in speeds]
    first, _, _ = names[0].rpartition("-")
    alike = len(names) > 1 and first and all(name.startswith(f"{first}-") for name in names)
    return [name.removeprefix(f"{first}-") for name in names] if alike else names


def plot_bars(found: Comparison, path: Path) -> None:
    """Tokens/s by file and engine, decode and prefill, beneath what the machine could do."""
    n = len(found.of("decode"))
    beside_title = 6 + 1.2 * len(found.engines)  # inches, so that the legend fits
    with new_figure(max(beside_title, 2 + 2 * n), 3.8) as figure:
        for axes, kind in zip(figure.subplots(1, 2), ("decode", "prefill"), strict=True):
            _bars(axes, found, kind)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
        threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
        title = f"Tokens a second, {threads}"
        save(figure, path, title, _caption(found))


def _bars(axes: Axes, found: Comparison, kind: str) -> None:
    speeds, engines = found.of(kind), found.engines
    width = 0.8 / len(engines)
    for i, (engine, colour) in enumerate(zip(engines, COLOURS, strict=False)):
        at = [x + (i - (len(engines) - 1) / 2) * width for x in range(len(speeds))]
        medians = [speed.median(engine) for speed in speeds]
        bars = axes.bar(at, medians, 0.94 * width, label=engine, color=colour)
        axes.bar_label(bars, [_number(median) for median in medians], fontsize=8, padding=1)
    for x, speed in enumerate(speeds):
        label = "limit of the machine" if x == 0 else None
        axes.hlines(speed.limit, x - 0.42, x + 0.42, colors=INK, linewidth=1.5, label=label)
        axes.annotate(
            f"{speed.bound}\n{_number(speed.limit)}",
            (x, speed.limit),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=MUTED,
        )
    axes.set_ylim(0, 1.15 * max(max(s.limit, *map(s.median, engines)) for s in speeds))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xticks(range(len(speeds)), short_names(speeds))
    axes.set_ylabel("tokens/s")
    axes.set_title(f"{kind} of {speeds[0].n_tokens} tokens", loc="left")


def plot_roofline(found: Comparison, path: Path) -> None:
    """Operations/s by operations a byte, under the roofs of bandwidth and arithmetic."""
    intensities = [_place(speed)[0] for speed in found.speeds]
    with new_figure(8.4, 5.0) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        _roofs(axes, found.limits, min(intensities) / 2, max(intensities) * 4)
        for engine, colour in zip(found.engines, COLOURS, strict=False):
            for kind, mark in MARKS.items():
                points = [_place(speed, engine) for speed in found.of(kind)]
                label = f"{engine}, {kind}"
                axes.plot(*zip(*points, strict=True), mark, color=colour, label=label, ms=7)
        for kind in MARKS:
            _name_files(axes, found, kind)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter("")
        axes.set_xlabel("operations for each byte that has to be read (log scale)")
        axes.set_ylabel("G operations/s (log scale)")
        axes.legend(loc="lower center")
        text = (
            "Each point is a file: the multiplications and additions its weights ask for, over the "
            f"time that they took; decode of {found.of('decode')[0].n_tokens} tokens and "
            f"prefill of {found.of('prefill')[0].n_tokens}, {found.threads} threads. On the slope "
            "memory is the limit, under the flat roofs arithmetic: int16 for quantised weights, "
            "float32 for the others."
        )
        save(figure, path, "Roofline: how near to what the machine can do", text)


def _place(speed: Speed, engine: str = "smelt") -> tuple[float, float]:
    """Operations a byte, and G operations/s."""
    return speed.operations / speed.bytes, speed.operations * speed.median(engine) / 1e9


def _roofs(axes: Axes, limits: Limits, low: float, high: float) -> None:
    read = limits.read / 1e9
    for peak, name, style in (
        (limits.dot / 1e9, "int16", "-"),
        (limits.fma / 1e9, "float32", "--"),
    ):
        knee = peak / read
        end = max(high, 2 * knee)
        axes.plot(
            [min(low, knee), knee, end], [min(low, knee) * read, peak, peak], style, color=INK
        )
        axes.annotate(
            f"{peak:,.0f} G {name} operations/s",
            (1.3 * knee, peak),  # points are at the ends of a roof
            (0, 3),
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
        )
    axes.text(
        1.6 * low,
        1.6 * low * read * ABOVE,
        f"{read:.1f} GB/s from memory",
        fontsize=8.5,
        color=MUTED,
        rotation=math.degrees(math.atan(read * ABOVE)),
        rotation_mode="anchor",
        transform_rotates_text=True,
    )


def _name_files(axes: Axes, found: Comparison, kind: str) -> None:
    """Beneath the lowest point of each file, in steps, since they lie close together."""
    speeds = found.of(kind)
    named = sorted(zip(speeds, short_names(speeds), strict=True), key=lambda s: -_place(s[0])[0])
    lowest = min(_place(speed, engine)[1] for speed in speeds for engine in found.engines)
    axes.set_ylim(bottom=min(axes.get_ylim()[0], lowest * 0.6 * STEP ** len(named)))
    for step, (speed, name) in enumerate(named):
        axes.annotate(
            name,
            (_place(speed)[0], min(_place(speed, engine)[1] for engine in found.engines)),
            (_place(speed)[0], lowest * 0.7 * STEP**step),
            textcoords="data",
            ha="left",
            va="center",
            fontsize=8,
            color=MUTED,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "relpos": (0, 0.5)},
        )


def _caption(found: Comparison) -> str:
    limits = found.limits
    return (
        f"Medians of {found.rounds} rounds in which the engines take turns. Black lines: what this "
        f"machine could do, by the {limits.read / 1e9:.1f} GB/s that it reads from memory, or the "
        f"{limits.dot / 1e9:.0f} G int16 operations/s (float32: {limits.fma / 1e9:.0f} G) that it "
        "computes in registers, measured in the same run."
    )


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
