"""Tokenizer: text to token ids and back, as a GGUF file's metadata describe it."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..errors import TokenizerError, UnsupportedModelError
from .bpe import BytePairEncoder
from .fields import Fields
from .pretokenizers import pre_tokenizer
from .specials import Splitter, settle_specials
from .spm import SentencePieceEncoder
from .stream import StreamDecoder
from .vocabulary import TokenType, Vocabulary

__all__ = ["Tokenizer"]


class _Encoder(Protocol):
    """What the two kinds of BPE offer."""

    def encode(self, text: str) -> list[int]: ...
    def token_bytes(self, text: str) -> bytes: ...


class Tokenizer:
    """Text to token ids and back. Several threads may use one Tokenizer at once.

    tokenizer.ggml.model is "llama" (SentencePiece BPE with byte fallback) or "gpt2" (byte-level
    BPE with the pre-tokenizer that tokenizer.ggml.pre names). The ids equal llama.cpp's, but for
    the few pre-tokenizers that it only approximates (see pretokenizers.py).
    """

    n_vocab: int
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    pad_id: int | None
    add_bos: bool
    """Whether encode() puts bos_id first unless told otherwise."""
    add_eos: bool
    """Whether encode() puts eos_id last wherever it adds special tokens."""
    add_space_prefix: bool
    """Whether a text is encoded with a space before it, which decode() takes away again."""
    eog_ids: frozenset[int]
    """Every token that ends a generation: end of text, of turn, of message and their like."""
    chat_template: str | None
    """The Jinja template of the model's chat format."""

    def __init__(self, metadata: Mapping[str, Any], source: str = "") -> None:
        fields = Fields(metadata, source)
        model = fields.string("model")
        if model not in ("llama", "gpt2"):
            raise UnsupportedModelError(
                f"{fields.where}key 'tokenizer.ggml.model': smelt knows 'llama' (SentencePiece "
                f"BPE) and 'gpt2' (byte-level BPE), found {model[:80]!r}"
            )
        is_spm = model == "llama"
        rules = (
            None
            if is_spm
            else pre_tokenizer(fields.string("pre", "default") or "default", fields.where)
        )
        self._vocabulary = vocabulary = Vocabulary(fields, need_types=is_spm)
        self.n_vocab = len(vocabulary)
        self._read_ids(fields, is_spm)
        self.eog_ids = settle_specials(vocabulary, fields, self.eos_id)
        self._read_flags(fields, add_bos=rules is None or rules.add_bos)
        self.add_space_prefix = is_spm and fields.flag("add_space_prefix", True)
        template = metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None
        self._splitter = Splitter(vocabulary, str(metadata.get("general.name", "")))
        self._encoder: _Encoder = (
            SentencePieceEncoder(vocabulary, fields, self.unk_id)
            if rules is None
            else BytePairEncoder(vocabulary, fields, rules)
        )

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """The tokenizer of a GGUF file, with or without weights.

        Raises ModelFormatError where the file or its tokenizer is damaged or contradicts itself,
        UnsupportedModelError where smelt does not know the kind of tokenizer, and OSError where
        there is no file to read.
        """
        from ..gguf_file import GGUFFile

        with GGUFFile(path) as file:
            return cls(file.metadata, os.fspath(path))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], source: str = "") -> Tokenizer:
        """The tokenizer that GGUF metadata describe; `source` names their file in errors.

        Keys are those of GGUF; arrays are any sequences of str, int or float.
        Raises ModelFormatError and UnsupportedModelError as from_gguf() does.
        """
        return cls(metadata, source)

    def encode(
        self,
        text: str,
        add_bos: bool | None = None,
        parse_special: bool = False,
        mark: str = "",
    ) -> list[int]:
        """The token ids of a text.

        `add_bos`: whether special tokens are put around the text, bos_id first and, if the model
        has add_eos, eos_id last. None adds what the model says; False adds neither.
        `parse_special`: whether the spellings of control tokens in the text ("<|im_end|>") become
        these tokens. User-defined tokens are always recognised.
        `mark`: the character that mark_specials() put into parts of the text; it is left out.

        Raises TokenizerError where the text holds surrogates or, in a vocabulary without byte
        tokens, characters that no token stands for; and where `add_bos` is True but the model
        has no such token.
        """
        if not isinstance(text, str):
            raise TokenizerError(f"expected a text of type str, found {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text holds a surrogate, U+{ord(text[error.start]):04X}, at {error.start}: "
                "it is no Unicode text; decode its bytes with errors='replace'"
            ) from None
        ids: list[int] = []
        if self.add_bos if add_bos is None else add_bos:
            if self.bos_id is None:
                raise TokenizerError("add_bos=True: the model has no beginning-of-text token")
            ids.append(self.bos_id)
        after_special = True
        for piece in self._splitter.split(text, parse_special):
            if isinstance(piece, int):
                ids.append(piece)
                after_special = True
            else:
                prefix = " " if self.add_space_prefix and after_special else ""
                ids += self._encoder.encode(prefix + (piece.replace(mark, "") if mark else piece))
                after_special = False
        if self.add_eos and add_bos is not False and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def mark_specials(self, text: str, mark: str) -> str:
        """The text with the character `mark` inside every spelling of a control token, so that
        encode(..., parse_special=True, mark=mark) takes them for the text that they are."""
        return self._splitter.mark(text, mark)

    def decode(self, ids: Iterable[int], skip_special: bool = True, first: bool = True) -> str:
        """The text of token ids; U+FFFD stands for bytes that are not UTF-8.

        `skip_special`: whether control tokens add nothing, or their spelling.
        `first`: whether the ids begin a text, so that the space which encode() puts before a text
        is taken away; False for what continues a text, such as a completion.

        Raises TokenizerError for an id that the vocabulary does not have.
        """
        decoder = self.stream(skip_special=skip_special, first=first)
        return "".join(map(decoder.push, ids)) + decoder.flush()

    def stream(self, skip_special: bool = True, first: bool = False) -> StreamDecoder:
        """A decoder that takes ids one by one, by default those of a completion.

        The arguments are decode()'s; after the same ids, the pieces make the same text.
        """
        piece = self.token_bytes if skip_special else self._shown_bytes
        return StreamDecoder(piece, self._drops_space if first else lambda token_id: False)

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to the text: nothing for control tokens, any bytes for others.

        A token may end in the middle of a UTF-8 character. TokenizerError for an unknown id.
        """
        token = self._checked(token_id)
        kind = self._vocabulary.types[token]
        text = self._vocabulary.tokens[token]
        if kind == TokenType.NORMAL:
            return self._encoder.token_bytes(text)
        if kind == TokenType.BYTE:
            return bytes.fromhex(text[3:5])
        if kind == TokenType.USER_DEFINED:
            return text.encode()
        return b""

    def token_text(self, token_id: int) -> str:
        """The vocabulary's own spelling of a token; TokenizerError for an unknown id."""
        return self._vocabulary.tokens[self._checked(token_id)]

    def is_special(self, token_id: int) -> bool:
        """Whether it is a control token or the unknown token; TokenizerError for an unknown id."""
        kind = self._vocabulary.types[self._checked(token_id)]
        return kind in (TokenType.CONTROL, TokenType.UNKNOWN)

    def __repr__(self) -> str:
        return f"<Tokenizer of {self.n_vocab} tokens>"

    def _shown_bytes(self, token_id: int) -> bytes:
        if self.is_special(token_id):
            return self.token_text(token_id).encode()
        return self.token_bytes(token_id)

    def _drops_space(self, token_id: int) -> bool:
        """encode() puts its space before text, never before a user-defined token."""
        kind = self._vocabulary.types[self._checked(token_id)]
        return self.add_space_prefix and kind in (TokenType.NORMAL, TokenType.BYTE)

    def _checked(self, token_id: int) -> int:
        try:
            token = operator.index(token_id)
        except TypeError:
            raise TokenizerError(f"expected a token id, found {token_id!r}") from None
        if not 0 <= token < self.n_vocab:
            raise TokenizerError(
                f"token id {token} is not in the vocabulary, whose ids are 0 to {self.n_vocab - 1}"
            )
        return token

    def _read_ids(self, fields: Fields, is_spm: bool) -> None:
        """The special ids; the conventional ones of SentencePiece where those tokens fit."""
        n_vocab = self.n_vocab
        self.bos_id = fields.token_id("bos_token_id", n_vocab)
        self.eos_id = fields.token_id("eos_token_id", n_vocab)
        self.unk_id = fields.token_id("unknown_token_id", n_vocab)
        self.pad_id = fields.token_id("padding_token_id", n_vocab)
        if not is_spm:
            return
        types = self._vocabulary.types
        if self.unk_id is None and TokenType.UNKNOWN in types:
            self.unk_id = types.index(TokenType.UNKNOWN)
        if self.bos_id is None and types[1:2] == bytes([TokenType.CONTROL]):
            self.bos_id = 1
        if self.eos_id is None and types[2:3] == bytes([TokenType.CONTROL]):
            self.eos_id = 2

    def _read_flags(self, fields: Fields, add_bos: bool) -> None:
        self.add_bos = fields.flag("add_bos_token", add_bos)
        self.add_eos = fields.flag("add_eos_token", False)
        for name, wanted, token in (
            ("bos_token_id", self.add_bos, self.bos_id),
            ("eos_token_id", self.add_eos, self.eos_id),
        ):
            if wanted and token is None:
                fields.refuse(name, "the token that the model adds to every text", "no such key")
