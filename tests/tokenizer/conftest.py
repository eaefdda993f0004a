"""Two tiny vocabularies, made here so that these tests need no model."""

from collections.abc import Callable
from typing import Any

import pytest

from smelt.tokenizer import Tokenizer
from smelt.tokenizer.bpe import ALPHABET

MakeMetadata = Callable[..., dict[str, Any]]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def metadata_of(
    model: str, entries: list[tuple[str, int, float]], more: dict[str, Any]
) -> dict[str, Any]:
    """The metadata of (spelling, type, score) entries; `more` keys without tokenizer.ggml."""
    tokens, types, scores = map(list, zip(*entries, strict=True))
    values = {"model": model, "tokens": tokens, "token_type": types, "scores": scores} | more
    return {f"tokenizer.ggml.{name}": value for name, value in values.items()}


def tiny_spm(**more: Any) -> dict[str, Any]:
    """Byte tokens, some letters, a few merges, and tokens of every special kind."""
    entries = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
    entries += [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]
    words = ["▁o", "▁on", "ce", "▁once", "▁u", "up", "▁up", "on", "▁upon", "▁▁", "▁▁▁▁"]
    entries += [(word, NORMAL, -float(rank)) for rank, word in enumerate(words)]
    entries += [(char, NORMAL, -100.0 - rank) for rank, char in enumerate("▁abcdefghnopuéе中")]
    entries += [("<tool>", USER_DEFINED, 0.0), ("<tool>x", USER_DEFINED, 0.0)]
    entries += [("<|im_end|>", NORMAL, 0.0), ("[PAD]", UNUSED, 0.0)]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return metadata_of("llama", entries, ids | more)


def tiny_bpe(**more: Any) -> dict[str, Any]:
    """The byte alphabet, a few merges, and tokens of every special kind."""
    pairs = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "Ã ©", "Ġ Ġ"]
    entries = [(char, NORMAL, 0.0) for char in ALPHABET]
    entries += [(pair.replace(" ", ""), NORMAL, 0.0) for pair in pairs]
    entries += [("<|endoftext|>", CONTROL, 0.0), ("<|im_end|>", NORMAL, 0.0)]
    entries += [("<tool>", USER_DEFINED, 0.0), ("[PAD0]", UNUSED, 0.0)]
    end = len(entries) - 4
    ids = {"bos_token_id": end, "eos_token_id": end, "pre": "gpt-2", "merges": pairs}
    return metadata_of("gpt2", entries, ids | more)


@pytest.fixture(scope="session")
def make_metadata() -> MakeMetadata:
    return metadata_of


@pytest.fixture(scope="session")
def spm_metadata() -> MakeMetadata:
    """A function that gives the tiny SentencePiece vocabulary, keys replaced on request."""
    return tiny_spm


@pytest.fixture(scope="session")
def bpe_metadata() -> MakeMetadata:
    """A function that gives the tiny byte-level vocabulary, keys replaced on request."""
    return tiny_bpe


@pytest.fixture(scope="session")
def spm() -> Tokenizer:
    return Tokenizer.from_metadata(tiny_spm())


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return Tokenizer.from_metadata(tiny_bpe())


@pytest.fixture(scope="session", params=["spm", "bpe"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
    """Each of the two tiny tokenizers in turn."""
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer
