"""The ModelProto that is written by hand."""

import pytest

from smelt.errors import TokenizerError
from smelt.tokenizer import Tokenizer
from smelt.tokenizer.fields import Fields
from smelt.tokenizer.spm import model_proto
from smelt.tokenizer.vocabulary import Vocabulary

CONTROL, BYTE = 3, 6


def parsed(metadata: dict, unk_id: int | None):
    """The proto as protobuf's own code reads it."""
    pytest.importorskip(
        "google.protobuf", reason="protobuf, the reference reader, is not installed"
    )
    from sentencepiece import sentencepiece_model_pb2

    fields = Fields(metadata, "")
    vocabulary = Vocabulary(fields, need_types=True)
    proto = model_proto(vocabulary, fields.reals("scores", len(vocabulary)), unk_id)
    return sentencepiece_model_pb2.ModelProto.FromString(proto)


def test_protobuf_reads_what_was_written(spm_metadata) -> None:
    long = "a" * 20_000
    metadata = spm_metadata()
    metadata["tokenizer.ggml.tokens"][270] = long
    proto = parsed(metadata, 0)
    assert [piece.piece for piece in proto.pieces] == metadata["tokenizer.ggml.tokens"]
    assert [piece.score for piece in proto.pieces] == metadata["tokenizer.ggml.scores"]
    user_defined = 4
    expected = [1 if t == user_defined else t for t in metadata["tokenizer.ggml.token_type"]]
    assert [piece.type for piece in proto.pieces] == expected
    assert proto.trainer_spec.model_type == 2 and proto.trainer_spec.byte_fallback
    normalizer = proto.normalizer_spec
    assert normalizer.escape_whitespaces
    assert not normalizer.add_dummy_prefix and not normalizer.remove_extra_whitespaces


def test_exactly_one_unknown_piece(spm_metadata) -> None:
    unknown = 2
    for unk_id, n_pieces in ((0, 0), (1, 0), (None, 1)):
        proto = parsed(spm_metadata(), unk_id)
        where = [i for i, piece in enumerate(proto.pieces) if piece.type == unknown]
        assert where == [len(proto.pieces) - 1 if unk_id is None else unk_id]
        assert len(proto.pieces) == len(spm_metadata()["tokenizer.ggml.tokens"]) + n_pieces


def test_tokens_without_a_spelling_are_control_tokens(spm_metadata) -> None:
    metadata, unknown = spm_metadata(), 2
    for token in (0, 270, 271):
        metadata["tokenizer.ggml.tokens"][token] = ""
    pieces = parsed(metadata, 0).pieces
    assert [pieces[token].type for token in (0, 270, 271)] == [unknown, CONTROL, CONTROL]
    spellings = {piece.piece for piece in pieces}
    assert "" not in spellings and len(spellings) == len(pieces)


def without_some_bytes(spm_metadata, **keys) -> dict:
    """The tiny vocabulary with three of its byte tokens gone, in number and place like before."""
    metadata = spm_metadata(**keys)
    for token in range(200, 203):
        metadata["tokenizer.ggml.tokens"][token] = f"gone{token}"
        metadata["tokenizer.ggml.token_type"][token] = 1
    return metadata


def test_incomplete_byte_tokens_leave_the_unknown_token(spm_metadata) -> None:
    metadata = without_some_bytes(spm_metadata)
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.encode("ß", add_bos=False)[-1] == 0
    assert {piece.type for piece in parsed(metadata, 0).pieces} & {BYTE} == set()


def test_no_bytes_and_no_unknown_token(spm_metadata) -> None:
    metadata = without_some_bytes(spm_metadata)
    del metadata["tokenizer.ggml.unknown_token_id"]
    metadata["tokenizer.ggml.token_type"][0] = CONTROL
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.unk_id is None
    assert tokenizer.decode(tokenizer.encode("once")) == "once"
    with pytest.raises(TokenizerError, match="without a token"):
        tokenizer.encode("ß")


def test_plain_text_never_becomes_a_control_token(spm_metadata) -> None:
    metadata = spm_metadata()
    metadata["tokenizer.ggml.tokens"][270:273] = ["<", "<s", "s>"]
    assert 1 not in Tokenizer.from_metadata(metadata).encode("<s> <s>", add_bos=False)
