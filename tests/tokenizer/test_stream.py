"""Streaming: the pieces make the whole text, and none ends in half a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.tokenizer import StreamDecoder, Tokenizer


def decoder(pieces: list[bytes], drops: bool = False) -> StreamDecoder:
    return StreamDecoder(pieces.__getitem__, lambda _: drops)


@pytest.mark.parametrize("text", ["é", "中", "\U0001f999", "a\U0001f999é中z", "e\u0301", "\ufffd"])
def test_every_split(text: str) -> None:
    data = text.encode()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            stream = decoder([data[:first], data[first:second], data[second:]])
            shown = b""
            for token, end in enumerate((first, second, len(data))):
                shown += stream.push(token).encode()
                # All that is complete is shown at once: at most three bytes wait.
                assert data.startswith(shown) and end - len(shown) < 4
                assert shown.decode() == data[:end].decode(errors="ignore")
            assert shown == data
            assert stream.flush() == ""


@given(pieces=st.lists(st.binary(max_size=5)))
def test_any_bytes(pieces: list[bytes]) -> None:
    stream = decoder(pieces)
    text = "".join(map(stream.push, range(len(pieces)))) + stream.flush()
    assert text == b"".join(pieces).decode(errors="replace")


def test_flush_shows_what_waits_and_starts_again() -> None:
    stream = decoder([b"a\xf0\x9f", b"b"])
    assert (stream.push(0), stream.flush(), stream.flush()) == ("a", "\ufffd", "")
    assert stream.push(1) == "b"


def test_what_can_no_longer_be_completed_is_replaced_at_once() -> None:
    stream = decoder([b"\xe4\xb8", b"x"])
    assert (stream.push(0), stream.push(1)) == ("", "\ufffdx")


@pytest.mark.parametrize("drops", [False, True])
def test_the_first_space(drops: bool) -> None:
    stream = decoder([b"", b" a", b" b"], drops)
    assert "".join(map(stream.push, [0, 1, 2, 1])) == (" a b a"[drops:])
    assert decoder([b"a", b" b"], drops).push(1) == " b"[drops:]


@given(data=st.data())
@pytest.mark.parametrize("skip_special", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_equals_decode(
    either: Tokenizer, data: st.DataObject, skip_special: bool, first: bool
) -> None:
    ids = data.draw(st.lists(st.integers(0, either.n_vocab - 1)))
    stream = either.stream(skip_special=skip_special, first=first)
    text = "".join(map(stream.push, ids)) + stream.flush()
    assert text == either.decode(ids, skip_special=skip_special, first=first)


def test_real_tokens_of_split_characters(bpe: Tokenizer) -> None:
    ids = bpe.encode("\U0001f999é", add_bos=False)
    stream = bpe.stream()
    assert [stream.push(i) for i in ids] == ["", "", "", "\U0001f999", "é"]
