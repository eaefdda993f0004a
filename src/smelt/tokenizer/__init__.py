"""Tokenizers built from GGUF metadata: SentencePiece BPE and byte-level BPE behind one class.

Where things are:

    tokenizer.py      Tokenizer, the whole public surface
    fields.py         metadata values, checked for type and length before they are used
    vocabulary.py     tokens, their types and spellings
    specials.py       which tokens end a generation; text split at special tokens
    spm.py bpe.py     from text without special tokens to ids
    pretokenizers.py  the table of pre-tokenizers
    stream.py         from ids to text, one token at a time
"""

from .stream import StreamDecoder
from .tokenizer import Tokenizer

__all__ = ["StreamDecoder", "Tokenizer"]
