"""Which tokens end a generation, and where text is split."""

import pytest

from smelt.tokenizer import Tokenizer
from smelt.tokenizer.fields import Fields
from smelt.tokenizer.specials import Splitter, settle_specials
from smelt.tokenizer.vocabulary import TokenType, Vocabulary

NORMAL, CONTROL, USER_DEFINED = TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED


def settled(make_metadata, tokens: dict[str, TokenType], **keys) -> tuple[set[str], dict[str, int]]:
    """The spellings that end a generation, and the types after it is settled which do."""
    entries = [(text, kind, 0.0) for text, kind in tokens.items()]
    fields = Fields(make_metadata("gpt2", entries, keys), "")
    vocabulary = Vocabulary(fields, need_types=True)
    ends = settle_specials(vocabulary, fields, fields.token_id("eos_token_id", len(tokens)))
    return {vocabulary.tokens[i] for i in ends}, dict(zip(tokens, vocabulary.types, strict=True))


def splitter(make_metadata, tokens: dict[str, TokenType], name: str = "") -> Splitter:
    entries = [(text, kind, 0.0) for text, kind in tokens.items()]
    return Splitter(
        Vocabulary(Fields(make_metadata("gpt2", entries, {}), ""), need_types=True), name
    )


@pytest.mark.parametrize(
    "text",
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<end_of_turn>", "</s>", "<|eom_id|>",
     "<|end_of_text|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<|file_sep|>", "<|fim_pad|>"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED])
def test_well_known_ends(make_metadata, text: str, kind: TokenType) -> None:
    ends, types = settled(make_metadata, {"a": NORMAL, text: kind, "<|im_start|>": CONTROL})
    assert ends == {text}
    assert types == {"a": NORMAL, text: CONTROL, "<|im_start|>": CONTROL}


@pytest.mark.parametrize(
    "key", ["eos_token_id", "eot_token_id", "eom_token_id", "fim_rep_token_id"]
)
def test_ends_that_the_file_names(make_metadata, key: str) -> None:
    assert settled(make_metadata, {"a": NORMAL, "b": CONTROL}, **{key: 1})[0] == {"b"}


def test_infill_tokens_become_control_tokens(make_metadata) -> None:
    ends, types = settled(make_metadata, {"<|fim_prefix|>": USER_DEFINED, "<|fim_middle|>": NORMAL})
    assert not ends
    assert set(types.values()) == {CONTROL}


@pytest.mark.parametrize("others", [["<|return|>", "<|call|>"], ["<|flush|>", "<|calls|>"]])
def test_the_end_of_a_message_is_no_end_where_calls_are(make_metadata, others: list[str]) -> None:
    tokens = dict.fromkeys(["<|end|>", "<|channel|>", *others], CONTROL)
    ends, types = settled(make_metadata, tokens)
    assert ends == set(others)
    assert types["<|end|>"] == types["<|channel|>"] == USER_DEFINED


def test_a_tag_is_no_end_where_tools_respond(make_metadata) -> None:
    ends, types = settled(make_metadata, dict.fromkeys(["</s>", "<|tool_response>"], CONTROL))
    assert ends == {"<|tool_response>"}
    assert types["</s>"] == NORMAL


TOKENS = {"x": NORMAL, "<a>": USER_DEFINED, "<a><b>": USER_DEFINED, "<b>": CONTROL, "b>c": CONTROL}


@pytest.mark.parametrize(
    ("text", "parse_special", "expected"),
    [
        ("", True, []),
        ("x", True, ["x"]),
        ("<a>", False, [1]),
        ("<a><b>", False, [2]),
        ("<a><a><b>y", False, [1, 2, "y"]),
        (" <a> <b> ", False, [" ", 1, " <b> "]),
        (" <a> <b> ", True, [" ", 1, " ", 3, " "]),
        ("<b>c", True, [3, "c"]),
        ("<<b><b>", True, ["<", 3, 3]),
        ("<a", True, ["<a"]),
    ],
)
def test_split(make_metadata, text: str, parse_special: bool, expected: list[str | int]) -> None:
    assert list(splitter(make_metadata, TOKENS).split(text, parse_special)) == expected


def test_the_longest_token_wins_even_further_right(make_metadata) -> None:
    tokens = {"ab": USER_DEFINED, "bcd": USER_DEFINED}
    assert list(splitter(make_metadata, tokens).split("abcd", False)) == ["a", 1]


@pytest.mark.parametrize("name", ["Phi3", "Phi-3-mini-4k", "my PHI-3"])
def test_phi_3_strips_the_space_behind_special_tokens(make_metadata, name: str) -> None:
    tokens = {"<s>": CONTROL, "<|end|>": CONTROL, "<|user|>": USER_DEFINED}
    phi = splitter(make_metadata, tokens, name)
    text = "<s> a<|user|> \n\tb<|end|>\n<|end|>  "
    assert list(phi.split(text, True)) == [0, " a", 2, "b", 1, 1]
    other = splitter(make_metadata, tokens, "llama")
    assert list(other.split(text, True)) == [0, " a", 2, " \n\tb", 1, "\n", 1, "  "]


def test_phi_3_by_its_name(spm_metadata) -> None:
    metadata = spm_metadata() | {"general.name": "Phi-3"}
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.encode("<tool>  once") == tokenizer.encode("<tool>once")


def test_unknown_token_is_parsed_on_request(spm: Tokenizer) -> None:
    assert spm.encode("<unk>", False, parse_special=True) == [0]
    assert 0 not in spm.encode("<unk>", False)
