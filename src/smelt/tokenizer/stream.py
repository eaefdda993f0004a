"""From token ids to text, one token at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Text of a growing sequence of tokens; made by Tokenizer.stream().

    What push() has returned is final: half a UTF-8 character waits until the token that completes
    it, and bytes that can no longer become a character turn into U+FFFD. The concatenation of all
    pieces equals Tokenizer.decode() of all ids. One decoder serves one thread.
    """

    def __init__(self, piece: Callable[[int], bytes], drops_space: Callable[[int], bool]) -> None:
        """`piece`: a token's bytes; `drops_space`: whether it loses a space as the first text."""
        self._piece = piece
        self._drops_space = drops_space
        self._at_start = True
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes, "" if there is none yet.

        Raises TokenizerError for an id that the vocabulary does not have.
        """
        piece = self._piece(token_id)
        if self._at_start and piece:
            self._at_start = False
            if piece[:1] == b" " and self._drops_space(token_id):
                piece = piece[1:]
        return self._utf8.decode(piece)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed, or ""."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text
