"""SentencePiece BPE with byte fallback: a ModelProto written from the vocabulary's own arrays."""

from __future__ import annotations

import struct
from itertools import chain, repeat

from ..errors import TokenizerError
from .fields import Fields
from .vocabulary import TokenType, Vocabulary

__all__ = ["SentencePieceEncoder", "model_proto"]

SPACE = "\u2581"

# sentencepiece_model.proto, ModelProto: fields of the messages that are written here.
_PIECES, _TRAINER_SPEC, _NORMALIZER_SPEC = 1, 2, 3
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
_TRAINER_MODEL_TYPE, _TRAINER_BYTE_FALLBACK = 3, 35
_NORMALIZER_DUMMY_PREFIX, _NORMALIZER_EXTRA_SPACES, _NORMALIZER_ESCAPE = 3, 4, 5
_MODEL_TYPE_BPE = 2
_VARINT, _LENGTH, _FLOAT = 0, 2, 5

# The piece type that SentencePiece is told for each type of the vocabulary. Special tokens are
# split off before (specials.Splitter), so user-defined ones merge by score like any other text,
# as in llama.cpp; that the unknown token is one is said by its id.
_PIECE_TYPES: dict[int, int] = {
    TokenType.UNDEFINED: TokenType.UNUSED,
    TokenType.NORMAL: TokenType.NORMAL,
    TokenType.UNKNOWN: TokenType.CONTROL,
    TokenType.CONTROL: TokenType.CONTROL,
    TokenType.USER_DEFINED: TokenType.NORMAL,
    TokenType.UNUSED: TokenType.UNUSED,
    TokenType.BYTE: TokenType.BYTE,
}


class SentencePieceEncoder:
    """Text to ids with the sentencepiece package; `unk_id` stands for what has no token."""

    def __init__(self, vocabulary: Vocabulary, fields: Fields, unk_id: int | None) -> None:
        """Raises ModelFormatError where the arrays do not make a SentencePiece model."""
        from sentencepiece import SentencePieceProcessor

        scores = fields.reals("scores", len(vocabulary))
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model_proto(vocabulary, scores, unk_id))
        except (RuntimeError, OverflowError) as error:
            fields.refuse("scores", "a vocabulary that sentencepiece accepts", str(error))
        self._n_vocab = len(vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text in which spaces stand for themselves; no space is put before it."""
        ids: list[int] = self._processor.EncodeAsIds(text)
        if self._n_vocab in ids:
            raise TokenizerError(
                "the text has characters without a token, and the vocabulary has neither all "
                "256 byte tokens nor an unknown token to stand for them"
            )
        return ids

    @staticmethod
    def token_bytes(text: str) -> bytes:
        """The bytes of a normal token of this spelling."""
        return text.replace(SPACE, " ").encode()


def model_proto(vocabulary: Vocabulary, scores: list[float], unk_id: int | None) -> bytes:
    """A serialised ModelProto: the pieces, model type BPE, and no normalisation but the escape.

    Written by hand in protobuf's wire format, because the generated module costs 70 ms of import.
    SentencePiece wants exactly one unknown piece: it is `unk_id`, or where that is None one more
    piece behind the others.
    """
    byte_fallback = vocabulary.types.count(TokenType.BYTE) == 256
    types = dict(_PIECE_TYPES)
    if not byte_fallback:  # SentencePiece takes all 256 byte tokens or none
        types[TokenType.BYTE] = TokenType.CONTROL
    texts, kinds = list(vocabulary.tokens), [types[kind] for kind in vocabulary.types]
    for token, text in enumerate(texts):
        if not text:  # SentencePiece wants a spelling; one of a control token is never looked for
            texts[token], kinds[token] = f"\ue000unspelled {token}", TokenType.CONTROL
    if unk_id is None:
        texts.append("\ue000unknown")
        kinds.append(TokenType.UNKNOWN)
        scores = [*scores, 0.0]
    else:
        kinds[unk_id] = TokenType.UNKNOWN
    message = _pieces(texts, scores, kinds)
    trainer = _varint_field(_TRAINER_MODEL_TYPE, _MODEL_TYPE_BPE)
    trainer += _varint_field(_TRAINER_BYTE_FALLBACK, byte_fallback)
    normalizer = _varint_field(_NORMALIZER_DUMMY_PREFIX, False)
    normalizer += _varint_field(_NORMALIZER_EXTRA_SPACES, False)
    normalizer += _varint_field(_NORMALIZER_ESCAPE, True)
    message += _bytes_field(_TRAINER_SPEC, trainer)
    message += _bytes_field(_NORMALIZER_SPEC, normalizer)
    return message


_SCORE_AND_TYPE = struct.Struct("<BfBB")
_SCORE_TAG = _PIECE_SCORE << 3 | _FLOAT
_TYPE_TAG = _PIECE_TYPE << 3 | _VARINT


def _pieces(texts: list[str], scores: list[float], kinds: list[int]) -> bytes:
    """A piece for each text, without a loop in Python: vocabularies have 32,000 to 256,000."""
    spellings = [text.encode() for text in texts]
    before = {n_bytes: _before_spelling(n_bytes) for n_bytes in set(map(len, spellings))}
    rest = map(_SCORE_AND_TYPE.pack, repeat(_SCORE_TAG), scores, repeat(_TYPE_TAG), kinds)
    rows = zip(map(before.__getitem__, map(len, spellings)), spellings, rest, strict=True)
    return b"".join(chain.from_iterable(rows))


def _before_spelling(n_bytes: int) -> bytes:
    """What a piece begins with."""
    text = _varint(_PIECE_TEXT << 3 | _LENGTH) + _varint(n_bytes)
    size = len(text) + n_bytes + _SCORE_AND_TYPE.size
    return _varint(_PIECES << 3 | _LENGTH) + _varint(size) + text


def _bytes_field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH) + _varint(len(value)) + value


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """An unsigned number, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
