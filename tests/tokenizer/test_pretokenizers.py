"""The table of pre-tokenizers: what each cuts, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from smelt.errors import UnsupportedModelError
from smelt.tokenizer.pretokenizers import PRE_TOKENIZERS, pre_tokenizer

REQUIRED = (
    "llama-bpe", "llama3", "llama-v3", "qwen2", "gpt-2", "deepseek-llm", "deepseek-coder", "falcon",
    "starcoder", "refact", "command-r", "mpt", "smollm", "default",
)  # fmt: skip
BY_RULES = {rules: name for name, rules in PRE_TOKENIZERS.items()}


def pieces(name: str, text: str) -> list[str]:
    splits = [Split(Regex(pattern), "isolated") for pattern in PRE_TOKENIZERS[name].patterns]
    return [piece for piece, _ in Sequence(splits).pre_tokenize_str(text)]


# Cut by hand from the patterns; the ids of real vocabularies are in test_tokenizer.py. The spaces
# of "a  b" show (?!\S), the digits their grouping, and "É" letter case beyond ASCII.
SAMPLE = "I'll  go,É\n 1234 :)"
EXPECTED = {
    "default": ["I", "'", "ll", " ", " go", ",", "É", "\n", " ", "123", "4", " ", ":)"],
    "gpt-2": ["I", "'ll", " ", " go", ",", "É", "\n", " 1234", " :)"],
    "starcoder": ["I", "'ll", " ", " go", ",", "É", "\n ", "1", "2", "3", "4", " :)"],
    "llama-bpe": ["I", "'ll", " ", " go", ",É", "\n", " ", "123", "4", " :)"],
    "glm4": ["I", "'ll", " ", " go", ",É", "\n", " ", "123", "4", " :)"],
    "qwen2": ["I", "'ll", " ", " go", ",É", "\n", " ", "1", "2", "3", "4", " :)"],
    "deepseek-llm": ["I", "'", "ll", " ", " go", ",", "É", "\n", " ", "1234", " :)"],
    "deepseek-coder": ["I", "'", "ll", " ", " go", ",", "É", "\n", " ", "1", "2", "3", "4", " :)"],
    "tekken": ["I", "'ll", " ", " go", ",É", "\n", " ", "1", "2", "3", "4", " :)"],
}


@pytest.mark.parametrize("name", REQUIRED)
def test_known(name: str) -> None:
    assert pre_tokenizer(name, "").patterns


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_cuts(name: str) -> None:
    assert pieces(name, SAMPLE) == EXPECTED[name]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.parametrize("name", sorted(BY_RULES.values()))
def test_nothing_is_lost(name: str, text: str) -> None:
    assert "".join(pieces(name, text)) == text


@pytest.mark.parametrize("name", sorted(BY_RULES.values()))
@pytest.mark.parametrize("run", [" ", "\n", "a", "A", "1", "'", "中", "\u0301", "\u3000"])
def test_long_runs_are_cut_without_quadratic_search(name: str, run: str) -> None:
    for text in (run * 50_000 + "1", "x" + run * 50_000, (run + "b") * 25_000):
        assert "".join(pieces(name, text)) == text


def test_case_beyond_ascii() -> None:
    assert pieces("tekken", "ñÑñ") == ["ñ", "Ññ"]
    assert pieces("gpt-4o", "ÀÉit's") == ["ÀÉit's"]


def test_flags() -> None:
    assert PRE_TOKENIZERS["llama-bpe"].ignore_merges and PRE_TOKENIZERS["llama-bpe"].add_bos
    assert not PRE_TOKENIZERS["qwen2"].ignore_merges and not PRE_TOKENIZERS["qwen2"].add_bos


@pytest.mark.parametrize("name", ["", "gpt-3", "LLAMA-BPE", "x" * 10_000])
def test_unknown(name: str) -> None:
    with pytest.raises(UnsupportedModelError) as info:
        pre_tokenizer(name, "x.gguf: ")
    message = str(info.value)
    assert message.startswith("x.gguf: key 'tokenizer.ggml.pre'") and len(message) < 2000
    assert repr(name[:80]) in message and "llama-bpe" in message
