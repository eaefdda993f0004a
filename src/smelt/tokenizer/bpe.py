"""Byte-level BPE: the tokenizers package fed with vocabulary, merges and pre-tokenizer."""

from __future__ import annotations

from typing import Any

from ..errors import TokenizerError
from .fields import Fields, shorten
from .pretokenizers import PreTokenizer
from .vocabulary import Vocabulary

__all__ = ["ALPHABET", "BytePairEncoder"]


def _alphabet() -> dict[str, int]:
    """The characters that stand for bytes in tokens, as GPT-2 chose them.

    Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, are U+0100 and
    on (https://github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(hidden)
    }


ALPHABET = _alphabet()


class BytePairEncoder:
    """Text to ids; bytes whose character is no token are left out, as in llama.cpp."""

    def __init__(self, vocabulary: Vocabulary, fields: Fields, rules: PreTokenizer) -> None:
        """Raises ModelFormatError for merges that are no pairs or name tokens that do not exist."""
        from tokenizers import Regex, Tokenizer
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

        merges = _pairs(fields)
        try:
            model = BPE(vocab=vocabulary.ids, merges=merges, ignore_merges=rules.ignore_merges)
        except Exception as error:  # the package raises plain Exception
            _refuse_unknown_tokens(merges, vocabulary, fields)
            fields.refuse("merges", "merges that the tokenizers package accepts", str(error))
        self._tokenizer: Any = Tokenizer(model)
        self._tokenizer.pre_tokenizer = Sequence(
            [
                *(Split(Regex(pattern), "isolated") for pattern in rules.patterns),
                ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text without special tokens."""
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            # Oniguruma gives up after ten million steps back, as in a text of so many spaces; the
            # package then panics, and a panic is no Exception in Python.
            if type(error).__name__ != "PanicException":
                raise
            raise TokenizerError(
                f"a piece of {len(text)} characters cannot be cut into words ({error}); "
                "shorten its runs of spaces or encode it in parts"
            ) from None
        return ids

    @staticmethod
    def token_bytes(text: str) -> bytes:
        """The bytes of a normal token of this spelling."""
        try:
            return bytes(map(ALPHABET.__getitem__, text))
        except KeyError:  # added to the vocabulary later, in plain text
            return text.encode()


def _pairs(fields: Fields) -> list[tuple[str, str]]:
    """The merges, best first. One that occurs twice counts where it occurs first.

    The space between the halves is the first that is not the first character.
    """
    merges = fields.strings("merges")
    pairs: list[Any] = [tuple(merge.split(" ")) for merge in merges]
    if any(len(pair) != 2 or not pair[0] or not pair[1] for pair in pairs):
        for index, merge in enumerate(merges):
            space = merge.find(" ", 1)
            pairs[index] = (merge[:space], merge[space + 1 :])
            if space < 0 or not pairs[index][1]:
                fields.refuse("merges", "two tokens and a space", f"{shorten(merge)} at {index}")
    return list(dict.fromkeys(pairs))


def _refuse_unknown_tokens(
    merges: list[tuple[str, str]], vocabulary: Vocabulary, fields: Fields
) -> None:
    for rank, (left, right) in enumerate(merges):
        for text in (left, right, left + right):
            if text not in vocabulary.ids:
                fields.refuse(
                    "merges",
                    "merges of tokens into tokens of the vocabulary",
                    f"{shorten(left + ' ' + right)} at {rank}, where {shorten(text)} is no token",
                )
