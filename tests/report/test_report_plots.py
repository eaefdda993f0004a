"""Pictures of known arrays: what they are labelled with, and that they draw what they are given."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib import colormaps
from matplotlib.colors import to_hex
from report_examples import TRAPS, some_attention, some_findings

from smelt.errors import SmeltError
from smelt.report.attention import habit
from smelt.report.depth import ErrorByDepth, LayerRms, band
from smelt.report.figures import BLUE, GREEN, ORANGE, inline_svg, new_figure, save
from smelt.report.lens import Lens
from smelt.report.plots import LABELLED, plot_attention, plot_error, plot_lens, plot_rms

SVG = "{http://www.w3.org/2000/svg}"


def luminance(rgba: np.ndarray) -> float:
    """Relative luminance of sRGB (WCAG 2)."""
    c = np.where(rgba[:3] <= 0.04045, rgba[:3] / 12.92, ((rgba[:3] + 0.055) / 1.055) ** 2.4)
    return float(c @ [0.2126, 0.7152, 0.0722])


def test_rms_draws_the_medians() -> None:
    rows = [np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]]) * 2**layer for layer in range(4)]
    rms = LayerRms(band(rows), band(rows[:3]), band(rows[1:]))
    (axes,) = plot_rms(rms).axes
    assert axes.get_xlabel() == "layer" and "log scale" in axes.get_ylabel()
    assert axes.get_yscale() == "log"
    stream, attention, feed_forward = axes.get_lines()
    middle = 5 / np.sqrt(2)
    np.testing.assert_allclose(stream.get_ydata(), middle * np.array([1, 2, 4, 8]))
    np.testing.assert_allclose(attention.get_ydata(), middle * np.array([1, 2, 4]))
    np.testing.assert_allclose(feed_forward.get_ydata(), middle * np.array([2, 4, 8]))
    # the stream is between the layers, what a layer adds is at it
    assert list(stream.get_xdata()) == [-0.5, 0.5, 1.5, 2.5]
    assert list(attention.get_xdata()) == list(feed_forward.get_xdata()) == [0, 1, 2]
    assert [line.get_color() for line in axes.get_lines()] == [BLUE, ORANGE, GREEN]
    assert len({line.get_marker() for line in axes.get_lines()}) == 3  # not by colour alone
    outline = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (outline.min(), outline.max()) == pytest.approx((np.sqrt(0.5), 80 / np.sqrt(2)))


def test_the_lens_has_a_cell_for_each_layer_and_place() -> None:
    probabilities = np.linspace(0, 1, 12).reshape(3, 4)
    tokens = np.array([[5, 6, 7, 8], [5, 6, 0, 0], [5, 1, 0, 0]])
    labels = [[f"{row}:{at}" for at in range(4)] for row in range(3)]
    figure = plot_lens(Lens((1, 2, 3, 4), tokens, probabilities), labels, list("abcd"))
    axes, bar = figure.axes
    (mesh,) = [c for c in axes.collections if c.get_array() is not None]
    np.testing.assert_array_equal(mesh.get_array().reshape(3, 4), probabilities)
    assert [text.get_text() for text in axes.texts] == [label for row in labels for label in row]
    bold = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert bold == ["0:0", "1:0", "1:2", "1:3", "2:0", "2:1", "2:2", "2:3"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["input", "0", "1"]
    assert [t.get_text() for t in axes.get_xticklabels()] == list("abcd")
    assert axes.get_xlabel() and axes.get_ylabel() == "after layer"
    assert "probability" in bar.get_ylabel()
    assert mesh.get_clim() == (0, 1)


def test_letters_in_the_lens_can_be_read_on_every_ground() -> None:
    values = np.linspace(0, 1, 101)
    labels = [["x"] * 101]
    figure = plot_lens(Lens((0,) * 101, np.zeros((1, 101), int), values[None]), labels, ["x"] * 101)
    for text, value in zip(figure.axes[0].texts, values, strict=True):
        ground = luminance(np.array(colormaps["cividis"](value)))
        ink = 1.0 if text.get_color() == "white" else 0.0
        contrast = (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05)
        assert contrast >= 4.5, value  # WCAG 2, level AA


@pytest.mark.parametrize("name", ["viridis", "cividis"])
def test_more_is_lighter_whatever_colours_one_sees(name: str) -> None:
    levels = [luminance(np.array(colormaps[name](x))) for x in np.linspace(0, 1, 20)]
    assert levels == sorted(levels)


@pytest.mark.parametrize(("n_heads", "grid"), [(1, (1, 1)), (3, (1, 3)), (5, (2, 3))])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_attention_maps(n: int, n_heads: int, grid: tuple[int, int]) -> None:
    weights = some_attention(n, n_heads)
    maps = [((7, h), habit(weights[:, h]), weights[:, h]) for h in range(n_heads)]
    figure = plot_attention(maps, [f"t{i}" for i in range(n)])
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == n_heads
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == grid
    for h, axes in enumerate(drawn):
        shown = axes.images[0].get_array()
        upper = np.triu(np.ones((n, n), bool), 1)
        np.testing.assert_array_equal(np.ma.getmaskarray(shown), upper)
        lower = np.tril_indices(n)
        np.testing.assert_allclose(shown[lower] ** 2, weights[:, h][lower])
        assert axes.images[0].get_clim() == (0, 1)
        title = axes.get_title(loc="left")
        assert f"layer 7, head {h}" in title and habit(weights[:, h]).describe() in title
        if n <= LABELLED:
            assert [t.get_text() for t in axes.get_yticklabels()] == [f"t{i}" for i in range(n)]
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "share of attention"
    assert bar.get_yticklabels()[-1].get_text() == "100 %"
    assert bar.get_yticks()[2] == pytest.approx(np.sqrt(0.05))


def error_by_depth(**options: object) -> ErrorByDepth:
    values: dict[str, object] = {
        "name_a": "one <b>",
        "name_b": "two",
        "ops": ["embed", "blk.0.q", "blk.0.out", "blk.1.q", "logits"],
        "layers": [-1, 0, 0, 1, -1],
        "errors": [0.0, 1e-7, 1e-6, 3e-2, 5e-2],
        "rms_a": [1.0, 2.0, 3.0, 4.0, 5.0],
        "rms_b": [1.0, 2.0, 3.0, 9.0, 5.0],
        "tolerance": [1e-6, 1e-6, 1e-5, 1e-4, 1e-4],
    }
    return ErrorByDepth(**(values | options))  # type: ignore[arg-type]


def test_error_by_depth() -> None:
    figure = plot_error(error_by_depth(first=3))
    upper, lower = figure.axes
    assert upper.get_yscale() == lower.get_yscale() == "log"
    assert "relative error" in upper.get_ylabel() and "rms" in lower.get_ylabel()
    dots, tolerance, line, first = upper.get_lines()
    assert list(dots.get_xdata()) == [1, 2, 3, 4]  # an error of zero has no logarithm
    assert list(dots.get_ydata()) == [1e-7, 1e-6, 3e-2, 5e-2]
    assert list(tolerance.get_ydata()) == [1e-6, 1e-6, 1e-5, 1e-4, 1e-4]
    assert list(line.get_xdata()) == [3, 3]
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([3], [3e-2])
    assert "blk.1.q" in str(first.get_label())
    a, b = lower.get_lines()
    assert list(a.get_ydata()) == [1, 2, 3, 4, 5] and list(b.get_ydata()) == [1, 2, 3, 9, 5]
    assert a.get_label() == "A: one <b>" and b.get_label() == "B: two"
    assert a.get_linestyle() != b.get_linestyle()
    assert [t.get_text() for t in lower.get_xticklabels()] == ["0", "1"]
    assert list(lower.get_xticks()) == [1, 3]


def test_equal_runs_draw_no_error(tmp_path: Path) -> None:
    figure = plot_error(error_by_depth(errors=[0.0] * 5))
    save(figure, tmp_path / "equal.svg", "Equal", "")
    assert "no difference" in (tmp_path / "equal.svg").read_text()


def texts_of(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def trapped_svg(tmp_path: Path) -> str:
    lens = Lens(tuple(range(len(TRAPS))), np.zeros((1, len(TRAPS)), int), np.ones((1, len(TRAPS))))
    shown = [trap.encode("unicode_escape").decode() if trap[0] in "\x1b\u202e" else trap
             for trap in TRAPS]  # fmt: skip
    save(plot_lens(lens, [shown], shown), tmp_path / "traps.svg", "<b>", "&amp; $x^2$")
    return (tmp_path / "traps.svg").read_text()


def test_labels_are_text_and_nothing_else(tmp_path: Path) -> None:
    svg = trapped_svg(tmp_path)
    root = ElementTree.fromstring(svg)
    assert not [e for e in root.iter() if e.tag.removeprefix(SVG) in ("script", "foreignObject")]
    shown = texts_of(svg)
    assert "<b>" in shown and "&amp; $x^2$" in shown
    for trap in ("<script>alert(1)</script>", "$\\frac{", "&lt;b&gt;", "漢字", "]]>-->"):
        assert shown.count(trap) == 2, trap  # in the cell, and on the axis


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_files(tmp_path: Path, kind: str) -> None:
    findings = some_findings([1, 2, 3])
    path = tmp_path / f"rms.{kind}"
    save(plot_rms(findings.rms), path, "A title", "A caption. " * 30)
    again = tmp_path / f"again.{kind}"
    save(plot_rms(findings.rms), again, "A title", "A caption. " * 30)
    assert path.read_bytes() == again.read_bytes()  # the same picture is the same bytes
    assert path.read_bytes()[:4] == (b"\x89PNG" if kind == "png" else b"<?xm")
    if kind == "svg":
        shown = texts_of(path.read_text())
        assert "A title" in shown and sum("A caption." in text for text in shown) > 2  # wrapped


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SmeltError, match=r"\.png or \.svg"):
        save(plot_rms(some_findings([1, 2]).rms), tmp_path / "x.pdf", "", "")
    assert not list(tmp_path.iterdir())


def test_an_inline_picture_shares_no_ids_and_takes_the_page_s_colours() -> None:
    figures = [plot_rms(some_findings([1, 2]).rms) for _ in range(2)]
    pictures = [inline_svg(f, f"p{i}", 'a "label" <b>') for i, f in enumerate(figures)]
    ids = [set(re.findall(r'\bid="([^"]+)"', picture)) for picture in pictures]
    assert ids[0] and not ids[0] & ids[1]
    for picture, known in zip(pictures, ids, strict=True):
        references = re.findall(r'(?:href="|url\()#([^")]+)', picture)
        assert references and set(references) <= known
        assert 'aria-label="a &quot;label&quot; &lt;b&gt;"' in picture
        assert "var(--ink)" in picture and "var(--accent)" in picture
        assert "#1f2328" not in picture and to_hex(BLUE) not in picture
        assert "#ffffff" not in picture  # nor a ground of its own
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", picture)


def test_inline_text_keeps_what_looks_like_an_id() -> None:
    with new_figure(2, 1) as figure:
        figure.text(0, 0, 'id="x" href="#y" url(#z) #1f2328 <!-- -->')
    svg = inline_svg(figure, "p", "")
    assert 'id="x" href="#y" url(#z) #1f2328 &lt;!-- --&gt;</text>' in svg
