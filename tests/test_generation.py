"""StopText against the whole text, and Generation's accounts with a tokenizer of single letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smelt.completion import Piece
from smelt.errors import SamplingError
from smelt.generation import Generation, StopText
from smelt.kv_cache import Sequence as CachedSequence
from smelt.sampling import Sampler, SamplingParams
from smelt.tokenizer.stream import StreamDecoder

LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", max_size=4), max_size=3)


def cut(text: str, stops: Sequence[str]) -> str | None:
    """The text before the stop text that is complete first, letter by letter; None if none is.

    Of several that are complete at the same letter, the longest counts.
    """
    for end in range(len(text) + 1):
        lengths = [len(stop) for stop in stops if stop and text[:end].endswith(stop)]
        if lengths:
            return text[: end - max(lengths)]
    return None


def certain(text: str, stops: Sequence[str]) -> str:
    """What no continuation can take back: the text before the longest end that begins a stop."""
    for n in range(len(text), 0, -1):
        if any(stop.startswith(text[-n:]) and stop != text[-n:] for stop in stops):
            return text[:-n]
    return text


def split(text: str, sizes: Sequence[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


@given(LETTERS, STOPS, st.lists(st.integers(0, 4), max_size=12))
@example("babab", ["bab", "ab"], [])
@example("baa", ["a", "baa"], [])
@example("aabab", ["abab", "ba"], [])
@example("abbaab", ["bbaa", "ba"], [4])
def test_any_split(text: str, stops: list[str], sizes: list[int]) -> None:
    """The pieces are the text before the first stop, however the text came."""
    stopper = StopText(stops)
    pieces = [stopper.push(piece) for piece in split(text, sizes)]
    expected = cut(text, stops)
    assert stopper.found == (expected is not None)
    assert "".join([*pieces, stopper.flush()]) == (text if expected is None else expected)


@given(LETTERS, STOPS, st.lists(st.integers(0, 4), max_size=12))
def test_as_early_as_can_be(text: str, stops: list[str], sizes: list[int]) -> None:
    stopper, seen, out = StopText(stops), "", ""
    for piece in split(text, sizes):
        seen += piece
        out += stopper.push(piece)
        if stopper.found:
            break
        assert out == certain(seen, stops)


@given(LETTERS, STOPS)
def test_nothing_comes_after_a_stop(text: str, stops: list[str]) -> None:
    stopper = StopText([*stops, "x"])
    stopper.push(text + "x")
    assert stopper.found
    assert [stopper.push("more"), stopper.flush(), stopper.push("x")] == ["", "", ""]


def test_no_stops_hold_nothing_back() -> None:
    for stops in ((), ("",)):
        stopper = StopText(stops)
        assert stopper.push("text") == "text" and stopper.flush() == ""
        assert not stopper.found


def test_held_back_until_it_is_certain() -> None:
    stopper = StopText(["\n\n"])
    assert [stopper.push(x) for x in ("a\n", "b", "\n", "\nc")] == ["a", "\nb", "", ""]
    assert stopper.found


# --- Generation


class Letters:
    """Token 0 ends; the others are letters, and 27 and 28 the two halves of an é."""

    eog_ids = frozenset([0])

    def stream(self, first: bool) -> StreamDecoder:
        assert not first

        def piece(token: int) -> bytes:
            return {27: b"\xc3", 28: b"\xa9"}.get(token, bytes([96 + token]))

        return StreamDecoder(piece, lambda token: False)


def generation(known: int = 0, prompt: Sequence[int] = (1, 2, 3), **options: Any) -> Generation:
    defaults: dict[str, Any] = {"max_tokens": None, "stop": (), "logprobs": None, "n_ctx": 100}
    sequence = CachedSequence(list(prompt[:known]), [0])
    sampler = Sampler(SamplingParams(seed=1), 29)
    tokenizer = cast("Any", Letters())
    return Generation(list(prompt), sequence, sampler, tokenizer, **(defaults | options))


def logits_of(token: int) -> np.ndarray:
    logits = np.zeros(29, np.float32)
    logits[token] = 5.0
    return logits


def feed(g: Generation, *tokens: int) -> list[Piece]:
    pieces = []
    for token in tokens:
        assert g.active
        pieces.append(g.accept(logits_of(token)))
    return pieces


def test_what_is_pending() -> None:
    assert generation().pending == [1, 2, 3]
    g = generation(known=2)
    assert g.pending == [3]
    feed(g, 8)
    assert g.pending == [8]


def test_an_end_token_is_not_part_of_the_completion() -> None:
    g = generation(logprobs=2)
    assert feed(g, 8, 9, 0) == [Piece("h", 8), Piece("i", 9), Piece("", None)]
    c = g.completion()
    assert (c.text, c.token_ids, c.finish_reason) == ("hi", [8, 9], "stop")
    assert c.logprobs is not None and [entry.token_id for entry in c.logprobs] == [8, 9]
    assert all(len(entry.top) == 2 for entry in c.logprobs)


def test_max_tokens() -> None:
    g = generation(max_tokens=2)
    feed(g, 8, 9)
    assert not g.active and g.completion().finish_reason == "length"
    assert g.completion().timings.generated_tokens == 2


def test_no_tokens_wanted() -> None:
    g = generation(max_tokens=0)
    assert not g.active
    assert (g.completion().text, g.completion().finish_reason) == ("", "length")


@pytest.mark.parametrize("n_ctx", [3, 4, 6])
def test_the_context_ends(n_ctx: int) -> None:
    """The last token is chosen, but has no place left to be evaluated at."""
    g = generation(n_ctx=n_ctx)
    feed(g, *[1] * (n_ctx - 2))
    assert not g.active and g.completion().finish_reason == "length"


def test_a_stop_text_over_several_tokens() -> None:
    g = generation(stop=["hij"])
    assert [piece.text for piece in feed(g, 7, 8, 9, 10)] == ["g", "", "", ""]
    c = g.completion()
    assert (c.text, c.finish_reason, c.token_ids) == ("g", "stop", [7, 8, 9, 10])


def test_a_stop_text_counts_before_max_tokens() -> None:
    g = generation(stop=["i"], max_tokens=2)
    feed(g, 8, 9)
    assert (g.completion().text, g.completion().finish_reason) == ("h", "stop")


def test_what_was_held_back_comes_with_the_end() -> None:
    g = generation(stop=["hij"], max_tokens=2)
    assert feed(g, 8, 9)[-1] == Piece("hi", 9)
    g = generation(stop=["hij"])
    assert feed(g, 8, 9, 0)[-1] == Piece("hi", None)
    g = generation(stop=["hij"])
    feed(g, 8)
    assert g.finish("cancelled") == Piece("h", None)
    assert g.completion().text == "h"


def test_half_a_character_waits() -> None:
    g = generation(max_tokens=3)
    assert [piece.text for piece in feed(g, 27, 28, 27)] == ["", "é", "�"]
    assert g.completion().text == "é�"


def test_a_stop_text_that_ends_with_half_a_character() -> None:
    g = generation(stop=["h�"], max_tokens=2)
    feed(g, 8, 27)
    assert (g.completion().text, g.completion().finish_reason) == ("", "stop")


def test_logits_that_are_no_numbers_change_nothing() -> None:
    g = generation()
    with pytest.raises(SamplingError):
        g.accept(np.full(29, np.nan, np.float32))
    assert g.completion().token_ids == [] and g.completion().finish_reason == ""
