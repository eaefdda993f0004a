"""Tokenizer: llama.cpp's own test cases, round trips, special tokens, and what it refuses."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.errors import TokenizerError, UnsupportedModelError
from smelt.tokenizer import Tokenizer

VOCABULARIES = ("llama-spm", "phi-3", "llama-bpe", "qwen2", "gpt-2", "deepseek-llm", "mpt")
EXPECTED_ENDS = {
    "llama-spm": {2},
    "phi-3": {2, 32000, 32007},
    "llama-bpe": {128001, 128009},
    "qwen2": {128247, 151643, 151645},
    "gpt-2": {50256},
    "deepseek-llm": {100001},
    "mpt": {0},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# Pieces that meet merges, special tokens and the alphabet's odd corners more often than chance.
PIECES = st.sampled_from(
    [" ", "  ", "\n", "once", " upon", "hello", " world", "é", "中", "\U0001f999", "▁", "\0",
     "\ufffd", "<s>", "</s>", "<tool>", "<tool>x", "<0x41>",
     "<|im_end|>", "<|endoftext|>", "Ġ", "[PAD]"]
)  # fmt: skip
MIXED = st.lists(st.one_of(PIECES, TEXTS)).map("".join)


def token(tokenizer: Tokenizer, text: str) -> int:
    """The id of the token of this spelling."""
    return next(i for i in range(tokenizer.n_vocab) if tokenizer.token_text(i) == text)


def cases(path: Path) -> list[tuple[str, list[int]]]:
    """The texts and ids of a .inp/.out pair of llama.cpp."""
    texts = path.with_name(path.name + ".inp").read_bytes().decode()
    ids = path.with_name(path.name + ".out").read_text().splitlines()
    separated = texts.split("\n__ggml_vocab_test__\n")[: len(ids)]
    return [
        (text, [int(word) for word in line.split()])
        for text, line in zip(separated, ids, strict=True)
    ]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_equals_llama_cpp(shared: Path, name: str) -> None:
    path = shared / "vocab" / f"ggml-vocab-{name}.gguf"
    tokenizer = Tokenizer.from_gguf(path)
    expected = cases(path)
    assert len(expected) == 46
    for text, ids in expected:
        assert tokenizer.encode(text, add_bos=False, parse_special=False) == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.eog_ids == EXPECTED_ENDS[name]


def test_prompts_of_the_oracle(shared: Path) -> None:
    oracles = [
        path for path in sorted((shared / "oracle").glob("*.json")) if path.stem != "perplexity"
    ]
    assert len(oracles) == 14
    for path in oracles:
        tokenizer = Tokenizer.from_gguf(shared / "models" / f"{path.stem}.gguf")
        for case in json.loads(path.read_text()).values():
            assert tokenizer.encode(case["prompt"]) == case["prompt_tokens"]
            assert tokenizer.decode(case["prompt_tokens"]) == case["prompt"]


@given(text=MIXED)
@pytest.mark.parametrize("parse_special", [False, True])
def test_round_trip(either: Tokenizer, text: str, parse_special: bool) -> None:
    if either.add_space_prefix:
        # SentencePiece's sign for a space is one, and behind a user-defined token text gets
        # another space of its own.
        text = text.replace("▁", " ").replace("<tool>", "")
    ids = either.encode(text, add_bos=False, parse_special=parse_special)
    has_special = any(map(either.is_special, ids))
    assert parse_special or not has_special
    assert has_special or either.decode(ids) == text


@given(text=MIXED)
def test_without_space_prefix(spm_without_prefix: Tokenizer, text: str) -> None:
    ids = spm_without_prefix.encode(text, add_bos=False)
    assert spm_without_prefix.decode(ids) == text.replace("▁", " ")


@pytest.fixture(scope="module")
def spm_without_prefix(spm_metadata) -> Tokenizer:
    return Tokenizer.from_metadata(spm_metadata(add_space_prefix=False))


def test_merges_by_score_and_falls_back_to_bytes(spm: Tokenizer) -> None:
    ids = spm.encode("once upon 中ß", add_bos=False)
    assert [spm.token_text(i) for i in ids] == [
        "▁once", "▁upon", "▁", "中", "<0xC3>", "<0x9F>"
    ]  # fmt: skip


def test_merges_by_rank(bpe: Tokenizer) -> None:
    ids = bpe.encode("hello world é", add_bos=False)
    assert [bpe.token_text(i) for i in ids] == ["hello", "Ġworld", "Ġ", "Ã©"]


def test_a_completion_keeps_its_space(spm: Tokenizer) -> None:
    once, upon = spm.encode("once upon", add_bos=False)
    assert spm.decode([once, upon]) == "once upon"
    assert spm.decode([upon]) == "upon"
    assert spm.decode([upon], first=False) == " upon"
    assert spm.stream().push(upon) == " upon"
    assert spm.stream(first=True).push(upon) == "upon"


def test_only_one_space_goes_and_none_of_a_user_defined_token(spm: Tokenizer) -> None:
    assert spm.decode(spm.encode("  once")) == "  once"
    assert spm.decode([token(spm, "▁▁")]) == " "
    assert spm.decode(spm.encode("<tool>")) == "<tool>"


@pytest.mark.parametrize("in_file", [None, False, True])
@pytest.mark.parametrize("asked", [None, False, True])
def test_add_bos(spm_metadata, in_file: bool | None, asked: bool | None) -> None:
    keys = {} if in_file is None else {"add_bos_token": in_file}
    tokenizer = Tokenizer.from_metadata(spm_metadata(**keys))
    assert tokenizer.add_bos is (in_file is not False)
    wanted = tokenizer.add_bos if asked is None else asked
    assert (tokenizer.encode("once", add_bos=asked)[0] == 1) == wanted
    assert tokenizer.encode("", add_bos=asked) == [1] * wanted


def test_byte_level_models_add_bos_only_by_pre_tokenizer(bpe_metadata) -> None:
    assert not Tokenizer.from_metadata(bpe_metadata()).add_bos
    assert Tokenizer.from_metadata(bpe_metadata(pre="llama-bpe")).add_bos
    assert not Tokenizer.from_metadata(bpe_metadata(pre="llama-bpe", add_bos_token=False)).add_bos


def test_add_eos_goes_with_add_bos(spm_metadata) -> None:
    tokenizer = Tokenizer.from_metadata(spm_metadata(add_eos_token=True))
    assert tokenizer.encode("")[-1] == 2
    assert tokenizer.encode("", add_bos=False) == []


def test_add_bos_without_such_a_token(make_metadata, bpe_metadata) -> None:
    metadata = bpe_metadata()
    del metadata["tokenizer.ggml.bos_token_id"]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.bos_id is None
    assert tokenizer.encode("hello") == tokenizer.encode("hello", add_bos=False)
    with pytest.raises(TokenizerError, match="no beginning-of-text token"):
        tokenizer.encode("hello", add_bos=True)


def test_sentencepiece_has_conventional_ids(spm_metadata) -> None:
    metadata = spm_metadata()
    for name in ("bos", "eos", "unknown"):
        del metadata[f"tokenizer.ggml.{name}_token_id"]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (1, 2, 0)
    assert tokenizer.pad_id is None


def test_parse_special(either: Tokenizer) -> None:
    end = token(either, "<|im_end|>")
    text = "hello<|im_end|>"
    assert end not in either.encode(text)
    assert either.encode(text, parse_special=True)[-1] == end
    assert either.is_special(end) and end in either.eog_ids
    assert either.decode(either.encode(text, parse_special=True)) == "hello"
    shown = either.decode(either.encode(text, False, parse_special=True), skip_special=False)
    assert shown == text


def test_user_defined_tokens_are_always_parsed(either: Tokenizer) -> None:
    tool = token(either, "<tool>")
    assert tool in either.encode("a<tool>b")
    assert tool in either.encode("a<tool>b", parse_special=True)
    assert not either.is_special(tool)
    assert either.token_bytes(tool) == b"<tool>"


def test_the_longest_user_defined_token_wins(spm: Tokenizer) -> None:
    assert token(spm, "<tool>x") in spm.encode("a<tool>xyz")


def test_text_after_a_special_token_begins_anew(spm: Tokenizer) -> None:
    ids = spm.encode("<s>once", add_bos=False, parse_special=True)
    assert [spm.token_text(i) for i in ids] == ["<s>", "▁once"]


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [("<s>", b""), ("<0xE4>", b"\xe4"), ("▁once", b" once"), ("[PAD]", b""), ("<tool>", b"<tool>")],
)
def test_token_bytes(spm: Tokenizer, spelling: str, expected: bytes) -> None:
    assert spm.token_bytes(token(spm, spelling)) == expected


def test_bytes_of_all_tokens_make_the_text(bpe: Tokenizer) -> None:
    ids = bpe.encode("hello \U0001f999", add_bos=False)
    assert b"".join(map(bpe.token_bytes, ids)) == "hello \U0001f999".encode()
    assert [bpe.token_bytes(token(bpe, text)) for text in ("<|endoftext|>", "[PAD0]")] == [b"", b""]


def test_invalid_utf8_becomes_replacement_characters(spm: Tokenizer) -> None:
    half = token(spm, "<0xE4>")
    assert spm.decode([half, *spm.encode("a", add_bos=False)]) == "\ufffd a"
    assert spm.decode([half]) == "\ufffd"
    assert spm.decode([]) == ""


def test_ids_may_be_numpy_integers(spm: Tokenizer) -> None:
    ids = spm.encode("once upon")
    assert spm.decode(np.array(ids, np.int32)) == "once upon"
    assert spm.token_text(np.int64(1)) == "<s>"


@pytest.mark.parametrize("bad", [-1, 10**9, 2**70, 1.5, "1", None])
def test_ids_that_do_not_exist(either: Tokenizer, bad: object) -> None:
    for call in (either.token_bytes, either.token_text, either.is_special, either.stream().push):
        with pytest.raises(TokenizerError, match="token id"):
            call(bad)
    with pytest.raises(TokenizerError, match="token id"):
        either.decode([0, bad])


@pytest.mark.parametrize("text", ["\ud800", "abc\udfff", "\udc80" * 3])
def test_surrogates_are_refused(either: Tokenizer, text: str) -> None:
    with pytest.raises(TokenizerError, match=r"surrogate, U\+D[8CDF]"):
        either.encode(text)


@pytest.mark.parametrize("text", [b"abc", None, ["a"]])
def test_other_types_are_refused(either: Tokenizer, text: object) -> None:
    with pytest.raises(TokenizerError, match="type str"):
        either.encode(text)


@pytest.mark.parametrize(
    "text", ["a", " ", "\n", "\0", "1", "中", "\u0301", "\U0001f999", "<tool>", "<"]
)
def test_long_monotonous_texts(either: Tokenizer, text: str) -> None:
    text *= 200_000
    ids = either.encode(text, add_bos=False, parse_special=True)
    assert either.decode(ids).replace("<tool> ", "<tool>") == text


def test_several_threads(either: Tokenizer) -> None:
    texts = [f"once upon {i} hello world <tool> \U0001f999" * 20 for i in range(8)]
    expected = [(either.encode(text), either.decode(either.encode(text))) for text in texts]

    def work(_: int) -> list[tuple[list[int], str]]:
        return [(either.encode(text), either.decode(either.encode(text))) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(20))) == [expected] * 20


def test_chat_template(spm_metadata) -> None:
    metadata = spm_metadata() | {"tokenizer.chat_template": "{{ messages }}"}
    assert Tokenizer.from_metadata(metadata).chat_template == "{{ messages }}"
    assert Tokenizer.from_metadata(spm_metadata()).chat_template is None


@pytest.mark.parametrize("model", ["t5", "bert", "rwkv", "no_vocab", "none", ""])
def test_other_kinds_of_tokenizer(spm_metadata, model: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"x.gguf: .*'tokenizer.ggml.model'.*{model!r}"):
        Tokenizer.from_metadata(spm_metadata(model=model), "x.gguf")


def test_an_unknown_pre_tokenizer_is_an_error(bpe_metadata) -> None:
    with pytest.raises(UnsupportedModelError, match=r"x.gguf: .*'my-own'.*llama-bpe.*qwen2"):
        Tokenizer.from_metadata(bpe_metadata(pre="my-own"), "x.gguf")


def test_an_absent_pre_tokenizer_is_default(bpe_metadata) -> None:
    metadata = bpe_metadata()
    del metadata["tokenizer.ggml.pre"]
    text = "hello  world 1234 !?"
    default = Tokenizer.from_metadata(bpe_metadata(pre="default")).encode(text)
    assert Tokenizer.from_metadata(metadata).encode(text) == default
    assert Tokenizer.from_metadata(bpe_metadata(pre="")).encode(text) == default
