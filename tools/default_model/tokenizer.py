"""The SentencePiece vocabulary of the default model: trained on its own text, with byte fallback."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import sentencepiece as spm
from stories.dialogue import Document

__all__ = ["BOS", "END", "EOS", "IGNORED", "encode_document", "load_tokenizer", "train_tokenizer"]

UNK, BOS, EOS, USER, ASSISTANT, END = range(6)
MARKERS = ["<|user|>", "<|assistant|>", "<|end|>"]
IGNORED = 0x8000
"""Set in a token of the corpus that is not to be predicted: 4,096 tokens leave the bit free."""

# Every printable character of ASCII gets a token, so that typed text seldom falls back to bytes.
_PRINTABLE = "".join(map(chr, range(33, 127)))


def train_tokenizer(texts: Iterable[str], path: Path, n_vocab: int, threads: int) -> None:
    """Trains a BPE vocabulary and writes it to `path`.

    Spaces are not put before a text: the first word of an answer has a token of its own, and what
    a model generates begins without a space.
    """
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=chain([" ".join(_PRINTABLE)], texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=n_vocab,
        byte_fallback=True,
        split_digits=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        control_symbols=MARKERS,
        max_sentence_length=20000,
        num_threads=threads,
        minloglevel=1,
    )
    path.write_bytes(model.getvalue())


def load_tokenizer(path: Path) -> spm.SentencePieceProcessor:
    """The tokenizer of a file; ValueError where its special tokens are not where they belong."""
    tokenizer = spm.SentencePieceProcessor(model_file=str(path))
    ids = [tokenizer.piece_to_id(marker) for marker in MARKERS]
    if ids != [USER, ASSISTANT, END]:
        raise ValueError(f"{path}: expected the chat markers at {USER} to {END}, found {ids}")
    return tokenizer


def encode_document(tokenizer: spm.SentencePieceProcessor, document: Document) -> list[int]:
    """The tokens of a document; those that the model is not to predict have IGNORED set.

    A conversation is `<s> <|user|> ... <|end|> <|assistant|> ... <|end|>`, bare text is
    `<s> ... </s>`. Predicted are answers with their end, and bare text with its own.
    """
    ids = [BOS | IGNORED]
    for turn in document:
        text = tokenizer.encode(turn.text)  # one by one: a list would start threads for each call
        if turn.role == "user":
            ids += [token | IGNORED for token in (USER, *text, END)]
        elif turn.role == "assistant":
            ids += [ASSISTANT | IGNORED, *text, END]
        else:
            ids += [*text, EOS]
    return ids
