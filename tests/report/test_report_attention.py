"""Habits of attention heads, and the choice of some."""

from __future__ import annotations

import numpy as np
import pytest
from report_examples import some_attention

from smelt.errors import SmeltError
from smelt.report.attention import Habit, choose_heads, habit, habits, parse_head


def looks(n: int, where: str) -> np.ndarray:
    """A head that looks at one place only."""
    weights = np.zeros((n, n))
    for t in range(n):
        weights[t, {"first": 0, "itself": t, "previous": max(0, t - 1)}[where]] = 1
    return weights


@pytest.mark.parametrize("where", ["itself", "previous", "first"])
def test_a_head_with_one_habit(where: str) -> None:
    found = habit(looks(9, where))
    # the second token's previous one is the first, which counts as such
    expected = 7 / 8 if where == "previous" else 1.0
    assert getattr(found, where) == pytest.approx(expected)


def test_shares_sum_to_one() -> None:
    weights = some_attention(17, 3)
    for found in habits(5, weights).values():
        assert sum(vars(found).values()) == pytest.approx(1.0)
        assert min(vars(found).values()) > 0
    assert list(habits(5, weights)) == [(5, 0), (5, 1), (5, 2)]


def test_distances_are_counted_from_the_token_that_looks() -> None:
    weights = np.eye(8)
    weights[7] = [0.1, 0.2, 0.05, 0.05, 0.1, 0.1, 0.3, 0.1]
    last = habit(weights)
    assert last.first == pytest.approx(0.1 / 7)
    assert last.itself == pytest.approx((6 + 0.1) / 7)
    assert last.previous == pytest.approx(0.3 / 7)
    assert last.nearby == pytest.approx((0.1 + 0.1 + 0.05) / 7)
    assert last.far == pytest.approx((0.05 + 0.2) / 7)


def test_one_token_looks_at_itself_which_is_the_first() -> None:
    assert habit(np.ones((1, 1))) == Habit(1.0, 0.0, 0.0, 0.0, 0.0)


def test_words_name_the_two_largest_shares() -> None:
    text = Habit(0.1, 0.05, 0.6, 0.05, 0.2).describe()
    assert text == "previous token 60 %, further back 20 %"


def test_the_choice_takes_each_kind_before_a_second_of_one() -> None:
    kinds = [Habit(*row) for row in np.eye(5)]
    known = {(layer, 0): kinds[layer % 5] for layer in range(20)}
    chosen = choose_heads(known, 5)
    assert {known[head] for head in chosen} == set(kinds)
    assert chosen == sorted(chosen)
    assert chosen == choose_heads(dict(reversed(known.items())), 5)


@pytest.mark.parametrize("n", [1, 3, 99])
def test_the_choice_takes_each_head_once(n: int) -> None:
    known = habits(0, some_attention(6, 4))
    chosen = choose_heads(known, n)
    assert len(chosen) == len(set(chosen)) == min(n, 4)


def test_equal_heads_can_be_chosen_among() -> None:
    same = Habit(0.2, 0.2, 0.2, 0.2, 0.2)
    assert choose_heads({(0, 0): same, (0, 1): same, (1, 0): same}, 2) == [(0, 0), (0, 1)]


def test_a_head_in_writing() -> None:
    assert parse_head("3.12", 4, 16) == (3, 12)
    with pytest.raises(SmeltError, match=r"layers 0 to 3 with heads 0 to 15"):
        parse_head("4.0", 4, 16)
    for text in ("3", "3.", "a.b", "3.1.2", "-1.0", "3.1 "):
        with pytest.raises(SmeltError, match=r"LAYER\.HEAD"):
            parse_head(text, 4, 16)
