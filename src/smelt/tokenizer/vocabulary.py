"""The vocabulary: every token's spelling and type, and the special ids of a model."""

from __future__ import annotations

import re
from enum import IntEnum
from itertools import compress

from .fields import Fields, shorten

__all__ = ["BYTE_TOKEN", "TokenType", "Vocabulary"]

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenType(IntEnum):
    """tokenizer.ggml.token_type, as llama.h numbers it (enum llama_token_type)."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocabulary:
    """Tokens by id, ids by spelling, and types. Only the making of a Tokenizer changes the types.

    Raises ModelFormatError for an empty vocabulary, a spelling that two tokens share (llama.cpp
    refuses that too), a type that does not exist and a byte token that names no byte.
    """

    tokens: list[str]
    types: bytearray
    """TokenType of each token."""
    ids: dict[str, int]
    """Spelling to id; tokens without a spelling are not in it."""

    def __init__(self, fields: Fields, *, need_types: bool) -> None:
        self.tokens = fields.strings("tokens")
        if not self.tokens:
            fields.refuse("tokens", "at least one token", "an empty array")
        self.ids = self._by_spelling(fields)
        if need_types or fields.has("token_type"):
            self.types = self._checked_types(fields)
        else:
            self.types = bytearray([TokenType.NORMAL]) * len(self)
        self._check_byte_tokens(fields)

    def __len__(self) -> int:
        return len(self.tokens)

    def of_types(self, *types: TokenType) -> list[int]:
        """The ids of all tokens of these types, ascending."""
        wanted = bytes(kind in types for kind in range(256))
        return list(compress(range(len(self)), self.types.translate(wanted)))

    def _by_spelling(self, fields: Fields) -> dict[str, int]:
        ids = {text: token for token, text in enumerate(self.tokens)}
        n_empty = self.tokens.count("")
        if len(ids) != len(self.tokens) - max(n_empty - 1, 0):
            seen: dict[str, int] = {}
            for token, text in enumerate(self.tokens):
                if text and text in seen:
                    fields.refuse(
                        "tokens",
                        "every token once",
                        f"{shorten(text)} at {seen[text]} and at {token}",
                    )
                seen[text] = token
        ids.pop("", None)
        return ids

    def _checked_types(self, fields: Fields) -> bytearray:
        types = fields.integers("token_type", len(self))
        if min(types) < min(TokenType) or max(types) > max(TokenType):
            token = next(i for i, kind in enumerate(types) if not 0 <= kind <= max(TokenType))
            fields.refuse(
                "token_type",
                f"types from {min(TokenType)} to {max(TokenType)}",
                f"{types[token]} at {token} ({shorten(self.tokens[token])})",
            )
        return bytearray(types)

    def _check_byte_tokens(self, fields: Fields) -> None:
        for token in self.of_types(TokenType.BYTE):
            if not BYTE_TOKEN.fullmatch(self.tokens[token]):
                fields.refuse(
                    "tokens",
                    "a spelling from <0x00> to <0xFF> for a token of type 6 (byte)",
                    f"{shorten(self.tokens[token])} at {token}",
                )
