"""Single tokens as a person reads them: in tables, on axes and in terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..printable import printable

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["token_label", "token_piece", "visible"]

# Marks for what cannot be seen; they are the ones that keyboards and editors show.
VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def token_piece(tokenizer: Tokenizer, token: int) -> str:
    """What a token adds to the text, "\\xe2" for a byte that is a part of a character; a special
    token's spelling, as it adds nothing."""
    if tokenizer.is_special(token):
        return tokenizer.token_text(token)
    return tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")


def token_label(tokenizer: Tokenizer, token: int, most: int = 0) -> str:
    """The piece in one line: spaces and line ends are marks, other control characters escapes.

    most: where it is not 0, so many characters at most, the last of them then "…".
    """
    shown = visible(token_piece(tokenizer, token))
    return shown[: most - 1] + "…" if 0 < most < len(shown) else shown


def visible(text: str) -> str:
    """The text in one line: spaces, tabs and line ends as marks, control characters as escapes."""
    return printable(text.translate(VISIBLE))
