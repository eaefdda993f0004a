"""Byte-level BPE: the alphabet, merges and their order."""

import pytest

from smelt.errors import TokenizerError
from smelt.tokenizer import Tokenizer
from smelt.tokenizer.bpe import ALPHABET, BytePairEncoder


def spelled(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(i) for i in tokenizer.encode(text, add_bos=False)]


def test_alphabet() -> None:
    assert sorted(ALPHABET.values()) == list(range(256))
    assert all(len(char) == 1 and not char.isspace() for char in ALPHABET)
    assert [ALPHABET[char] for char in "aĠĊéÃ"] == [0x61, 0x20, 0x0A, 0xE9, 0xC3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", b""), ("Ġa", b" a"), ("Ã©", "é".encode()), ("âĤ", b"\xe2\x82"), ("中", "中".encode())],
)
def test_token_bytes(text: str, expected: bytes) -> None:
    assert BytePairEncoder.token_bytes(text) == expected


def test_the_first_merge_wins(make_metadata) -> None:
    entries = [(char, 1, 0.0) for char in [*ALPHABET, "ab", "bc"]]

    def tokens(*merges: str) -> list[str]:
        metadata = make_metadata("gpt2", entries, {"merges": list(merges)})
        return spelled(Tokenizer.from_metadata(metadata), "abc")

    assert tokens("a b", "b c") == ["ab", "c"]
    assert tokens("b c", "a b") == ["a", "bc"]
    assert tokens("b c", "a b", "b c") == ["a", "bc"]
    assert tokens() == ["a", "b", "c"]


@pytest.mark.parametrize(("pre", "whole"), [("llama-bpe", True), ("qwen2", False)])
def test_ignore_merges(make_metadata, pre: str, whole: bool) -> None:
    entries = [(char, 1, 0.0) for char in [*ALPHABET, "abc"]]
    keys = {"merges": [], "pre": pre, "add_bos_token": False}
    tokenizer = Tokenizer.from_metadata(make_metadata("gpt2", entries, keys))
    assert spelled(tokenizer, "abc") == (["abc"] if whole else ["a", "b", "c"])


def test_bytes_outside_the_vocabulary_are_left_out(make_metadata) -> None:
    entries = [(char, 1, 0.0) for char in "abc"]
    tokenizer = Tokenizer.from_metadata(make_metadata("gpt2", entries, {"merges": []}))
    assert spelled(tokenizer, "a-b\ud7ffc") == ["a", "b", "c"]


def test_a_panic_of_the_package_is_an_error(bpe_metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than ten million spaces make one; a stand-in is quicker and quieter."""

    class PanicException(BaseException):
        pass

    class Panicking:
        def encode(self, *_: object, **__: object) -> None:
            raise PanicException("retry-limit-in-match over")

    tokenizer = Tokenizer.from_metadata(bpe_metadata())
    monkeypatch.setattr(tokenizer._encoder, "_tokenizer", Panicking())
    with pytest.raises(TokenizerError, match=r"5 characters.*retry-limit"):
        tokenizer.encode("hello")
