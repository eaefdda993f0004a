"""The pictures of a model at work, each a matplotlib figure made from plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import BLUE, GREEN, MUTED, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .attention import Habit, Head
    from .depth import ErrorByDepth, LayerRms
    from .lens import Lens

__all__ = ["plot_attention", "plot_error", "plot_lens", "plot_rms"]

LABELLED = 24  # most tokens that an axis of an attention map names one by one


def plot_rms(rms: LayerRms) -> Figure:
    """Root mean square of the residual stream and of what each block adds, layer by layer."""
    with new_figure(7.6, 3.9) as figure:
        axes = figure.add_subplot()
        layers = np.arange(len(rms.attention.middle))
        # the stream lies between the layers, what a layer adds in its middle
        between = np.arange(len(rms.stream.middle)) - 0.5
        axes.fill_between(
            between,
            rms.stream.lowest,
            rms.stream.highest,
            color=BLUE,
            alpha=0.2,
            linewidth=0,
            label="residual stream: all tokens",
        )
        for x, values, colour, marker, label in (
            (between, rms.stream, BLUE, "o", "residual stream"),
            (layers, rms.attention, ORANGE, "s", "added by attention"),
            (layers, rms.feed_forward, GREEN, "^", "added by feed-forward"),
        ):
            axes.plot(x, values.middle, color=colour, marker=marker, label=label)
        _log_axis(axes, (1.0, 3.0), "{:g}".format)
        axes.set_xlim(-0.75, len(layers) - 0.25)
        axes.set_xticks(layers[:: max(1, len(layers) // 16)])
        axes.set_xlabel("layer")
        axes.set_ylabel("root mean square (log scale)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def plot_lens(lens: Lens, labels: Sequence[Sequence[str]], read: Sequence[str]) -> Figure:
    """The top token behind every layer (rows, the input at the bottom) at every place (columns).

    labels: of lens.tokens, [n_layers + 1][n]; read: of the tokens that were read last.
    """
    n_rows, n = lens.tokens.shape
    with new_figure(1.6 + 0.72 * n, 1.5 + 0.29 * n_rows) as figure:
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(
            lens.probabilities, cmap="cividis", vmin=0, vmax=1, edgecolors="none"
        )
        for row in range(n_rows):
            for at in range(n):
                axes.text(
                    at + 0.5,
                    row + 0.5,
                    labels[row][at],
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=_readable(lens.probabilities[row, at]),
                    weight="bold" if lens.tokens[row, at] == lens.tokens[-1, at] else "normal",
                )
        axes.set_xticks(np.arange(n) + 0.5, read, rotation=45, ha="right", rotation_mode="anchor")
        names = ["input", *map(str, range(n_rows - 1))]
        step = max(1, n_rows // 40)
        axes.set_yticks(np.arange(0, n_rows, step) + 0.5, names[::step])
        axes.set_xlabel("token just read")
        axes.set_ylabel("after layer")
        _bare(axes)
        bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.01, aspect=3 * n_rows)
        bar.set_ticks(
            [0, 0.25, 0.5, 0.75, 1], labels=[f"{percent} %" for percent in (0, 25, 50, 75, 100)]
        )
        bar.set_label("probability of the token")
        bar.outline.set_visible(False)
    return figure


def _readable(value: float) -> str:
    """White or black text on this value of cividis: whichever has more contrast."""
    return "white" if value < 0.47 else "black"


def plot_attention(maps: Sequence[tuple[Head, Habit, np.ndarray]], tokens: Sequence[str]) -> Figure:
    """Attention maps [n, n] of some heads, side by side.

    tokens: labels of the n tokens, shown where there are few.
    """
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    n = len(tokens)
    with new_figure(3.1 * columns + 0.9, 3.45 * rows + 0.2) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(maps) :]:
            axes.set_visible(False)
        for axes, ((layer, head), habit, weights) in zip(grid.flat, maps, strict=False):
            # the square root: otherwise all but the largest weights are one dark colour
            shown = np.ma.masked_where(np.triu(np.ones((n, n), bool), 1), np.sqrt(weights))
            image = axes.imshow(
                shown, cmap="viridis", vmin=0, vmax=1, interpolation="none", aspect="equal"
            )
            axes.set_title(
                f"layer {layer}, head {head}\n{habit.describe()}", fontsize=8.5, loc="left"
            )
            _token_axes(axes, tokens)
        for axes in grid[-1, :]:
            axes.set_xlabel("token looked at")
        for axes in grid[:, 0]:
            axes.set_ylabel("token that looks")
        bar = figure.colorbar(image, ax=grid, fraction=0.03, pad=0.01, aspect=30)
        ticks = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
        bar.set_ticks(np.sqrt(ticks).tolist(), labels=[f"{100 * tick:.0f} %" for tick in ticks])
        bar.set_label("share of attention")
        bar.outline.set_visible(False)
    return figure


def _token_axes(axes: Axes, tokens: Sequence[str]) -> None:
    """Tokens along both axes, or their positions where there are too many to read."""
    _bare(axes)
    n = len(tokens)
    if n > LABELLED:
        axes.tick_params(length=3)
        return
    size = 7 if n <= 18 else 6
    axes.set_xticks(range(n), tokens, rotation=90, fontsize=size)
    axes.set_yticks(range(n), tokens, fontsize=size)


def _bare(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def plot_error(compared: ErrorByDepth) -> Figure:
    """Relative error of every op by depth, and beneath it how large both runs' values are."""
    at = np.arange(len(compared.ops))
    errors = np.array(compared.errors, np.float64)
    with new_figure(7.6, 5.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        drawn = (errors > 0) & np.isfinite(errors)
        if drawn.any():
            upper.plot(at[drawn], errors[drawn], ".", color=BLUE, label="error of an op")
        else:
            upper.text(0.5, 0.5, "no difference at all", ha="center", transform=upper.transAxes)
        upper.plot(at, compared.tolerance, color=MUTED, linewidth=1, ls="--", label="tolerance")
        if compared.first is not None:
            first, label = compared.first, f"first above it: {compared.ops[compared.first]}"
            upper.axvline(first, color=ORANGE, linewidth=1)  # also where the error is infinite
            upper.plot(first, errors[first], "D", color=ORANGE, label=label)
        _log_axis(upper, (1.0,), _power_of_ten)
        upper.set_ylabel("relative error (log scale)")
        lower.plot(at, compared.rms_a, color=BLUE, linewidth=1.2, label=f"A: {compared.name_a}")
        lower.plot(
            at, compared.rms_b, color=ORANGE, linewidth=1.2, ls="--", label=f"B: {compared.name_b}"
        )
        _log_axis(lower, (1.0,), "{:g}".format)
        lower.set_ylabel("rms (log scale)")
        _layer_axis(lower, compared.layers)
        for axes, columns in ((upper, 3), (lower, 1)):
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8.5, ncols=columns)
    return figure


def _log_axis(axes: Axes, steps: Sequence[float], label: Callable[[float], str]) -> None:
    """A logarithmic y axis with a line and a label at these multiples of the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: label(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(axis="y")


def _power_of_ten(y: float) -> str:
    """10⁻³: matplotlib's own labels would need its mathematical text, which is off."""
    exponent = str(round(np.log10(y))) if y > 0 else ""
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _layer_axis(axes: Axes, layers: Sequence[int]) -> None:
    """Ticks where layers begin, of ops in their order."""
    starts = {layer: at for at, layer in reversed(list(enumerate(layers))) if layer >= 0}
    shown = sorted(starts)[:: max(1, len(starts) // 16)]
    axes.set_xticks([starts[layer] for layer in shown], [str(layer) for layer in shown])
    axes.set_xlabel("op, in the order of the program; numbers mark where layers begin")
