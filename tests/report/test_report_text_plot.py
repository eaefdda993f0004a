"""The text as a picture: where its letters go, and on what ground."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from smelt.report.surprise import LEVEL_NAMES, Chunk, Scored
from smelt.report.text_plot import ALPHAS, Cell, lay_out, plot_surprise


def chunk(text: str, bits: float | None = 0.0) -> Chunk:
    return Chunk(text, (Scored(0, bits, 1, ()),), False)


def test_lines_end_at_the_last_column_and_where_the_text_s_do() -> None:
    cells = lay_out([chunk(text) for text in ("abcd", " efg", " hij", "\n", "x\ny")], columns=9)
    assert cells == [
        Cell(0, 0, "abcd", 4, 0),
        Cell(0, 4, " efg", 4, 0),
        Cell(1, 0, " hij", 4, 0),
        Cell(1, 4, "⏎", 1, 0),
        Cell(2, 0, "x⏎", 2, 0),
        Cell(3, 0, "y", 1, 0),
    ]


def test_wide_letters_take_two_columns_and_marks_none() -> None:
    (cell,) = lay_out([chunk("漢e\u0301")])
    assert cell.width == 3


def test_control_characters_are_escapes() -> None:
    (cell,) = lay_out([chunk("\x1b[31m\u202e")])
    assert cell.text == "\\x1b[31m\\u202e"


def test_a_token_that_is_longer_than_a_line_is_still_shown() -> None:
    cells = lay_out([chunk("a"), chunk("b" * 20), chunk("c")], columns=9)
    assert [(cell.line, cell.column) for cell in cells] == [(0, 0), (1, 0), (2, 0)]


def test_the_ground_is_the_stronger_the_greater_the_surprise() -> None:
    assert list(ALPHAS) == sorted(ALPHAS) and len(ALPHAS) == len(LEVEL_NAMES)
    chunks = [chunk(f" w{i}", bits) for i, bits in enumerate([0.1, 2.0, 5.0, 8.0, 12.0])]
    (axes,) = plot_surprise([chunk("<s>", None), *chunks]).axes
    alphas = [patch.get_alpha() for patch in axes.patches]
    assert alphas[:6] == [0.0, *ALPHAS]
    assert alphas[-5:] == list(ALPHAS)  # the legend
    words = [text.get_text() for text in axes.texts]
    assert words[:6] == ["<s>", "w0", "w1", "w2", "w3", "w4"]
    assert axes.texts[1].get_position() == (4, 0)  # its space is ground alone


def test_no_text_at_all_is_only_a_legend() -> None:
    (axes,) = plot_surprise([]).axes
    assert len(axes.patches) == len(LEVEL_NAMES) + 1
