"""Metadata that contradict themselves: a ModelFormatError names the key and the value."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.errors import ModelFormatError, SmeltError
from smelt.tokenizer import Tokenizer

Change = Callable[[list[Any]], object]


def check(metadata: dict[str, Any], key: str, *words: str) -> None:
    """Assert that the fault is found and told."""
    with pytest.raises(ModelFormatError) as info:
        Tokenizer.from_metadata(metadata, "dir/x.gguf")
    message = str(info.value)
    for word in ("dir/x.gguf", f"'tokenizer.ggml.{key}'", "expected", "found", *words):
        assert word in message


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("spm", "model"), ("spm", "tokens"), ("spm", "scores"), ("spm", "token_type"),
        ("bpe", "model"), ("bpe", "tokens"), ("bpe", "merges"),
    ],
)  # fmt: skip
def test_missing_key(request: pytest.FixtureRequest, kind: str, key: str) -> None:
    metadata = request.getfixturevalue(f"{kind}_metadata")()
    del metadata[f"tokenizer.ggml.{key}"]
    check(metadata, key, "no such key")


@pytest.mark.parametrize("key", ["tokens", "scores", "token_type"])
@pytest.mark.parametrize(
    ("value", "found"),
    [(None, "no such key"), (7, "7"), ("abc", "'abc'"), ({"a": 1}, "{'a': 1}"), ([[1]], "[1]")],
)
def test_no_array(spm_metadata, key: str, value: object, found: str) -> None:
    if value == [[1]]:
        value = [[1]] * len(spm_metadata()["tokenizer.ggml.tokens"])
    check(spm_metadata(**{key: value}), key, found)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("tokens", lambda a: a.__setitem__(5, 5), ["strings", "5 at 5"]),
        ("tokens", lambda a: a.__setitem__(5, b"x"), ["strings", "b'x' at 5"]),
        ("tokens", lambda a: a.__setitem__(5, "\udc80"), ["surrogate"]),
        ("tokens", lambda a: a.__setitem__(270, a[265]), ["once", "at 265 and at 270"]),
        ("tokens", lambda a: a.__setitem__(5, "<0xgg>"), ["byte", "'<0xgg>' at 5"]),
        ("tokens", lambda a: a.clear(), ["at least one"]),
        ("scores", lambda a: a.pop(), ["values, one for each of tokenizer.ggml.tokens"]),
        ("scores", lambda a: a.append(0.0), ["values, one for each of tokenizer.ggml.tokens"]),
        ("scores", lambda a: a.__setitem__(3, math.nan), ["NaN at 3"]),
        ("scores", lambda a: a.__setitem__(3, "x"), ["numbers", "'x' at 3"]),
        ("scores", lambda a: a.__setitem__(3, True), ["numbers", "True at 3"]),
        ("scores", lambda a: a.__setitem__(3, 1e300), ["sentencepiece"]),
        ("token_type", lambda a: a.pop(), ["values, one for each of tokenizer.ggml.tokens"]),
        ("token_type", lambda a: a.__setitem__(4, 7), ["from 0 to 6", "7 at 4", "<0x01>"]),
        ("token_type", lambda a: a.__setitem__(4, -1), ["from 0 to 6", "-1 at 4"]),
        ("token_type", lambda a: a.__setitem__(4, 1.0), ["integers", "1.0 at 4"]),
    ],
)
def test_faulty_array(spm_metadata, key: str, change: Change, words: list[str]) -> None:
    metadata = spm_metadata()
    change(metadata[f"tokenizer.ggml.{key}"])
    check(metadata, key, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.append("zz y"), ["'zz y' at 11", "'zz' is no token"]),
        (lambda a: a.append("y z"), ["'y z' at 11", "'yz' is no token"]),
        (lambda a: a.append("alone"), ["'alone' at 11"]),
        (lambda a: a.append(""), ["'' at 11"]),
        (lambda a: a.append("a "), ["'a ' at 11"]),
        (lambda a: a.append(" a"), ["' a' at 11"]),
        (lambda a: a.append("h e l"), ["'h e l' at 11", "'e l' is no token"]),
        (lambda a: a.append(3), ["3 at 11"]),
    ],
)
def test_faulty_merges(bpe_metadata, change: Change, words: list[str]) -> None:
    metadata = bpe_metadata()
    metadata["tokenizer.ggml.merges"] = list(metadata["tokenizer.ggml.merges"])
    change(metadata["tokenizer.ggml.merges"])
    check(metadata, "merges", *words)


@pytest.mark.parametrize(
    "key", ["bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "eot_token_id",
            "eom_token_id", "fim_pad_token_id"]
)  # fmt: skip
@pytest.mark.parametrize("value", [10**6, -1, "2", True, 2.0])
def test_special_id_out_of_range(spm_metadata, key: str, value: object) -> None:
    n_vocab = len(spm_metadata()["tokenizer.ggml.tokens"])
    check(spm_metadata(**{key: value}), key, f"from 0 to {n_vocab - 1}", repr(value))


@pytest.mark.parametrize("key", ["add_bos_token", "add_eos_token", "add_space_prefix"])
@pytest.mark.parametrize("value", [1, "true", [True]])
def test_flag_of_another_type(spm_metadata, key: str, value: object) -> None:
    check(spm_metadata(**{key: value}), key, "boolean", repr(value))


@pytest.mark.parametrize("which", ["bos", "eos"])
def test_a_token_to_add_that_is_not_named(bpe_metadata, which: str) -> None:
    metadata = bpe_metadata(**{f"add_{which}_token": True})
    del metadata[f"tokenizer.ggml.{which}_token_id"]
    check(metadata, f"{which}_token_id", "no such key")


def test_values_shown_are_short(spm_metadata) -> None:
    metadata = spm_metadata(bos_token_id="x" * 10**6)
    with pytest.raises(ModelFormatError) as info:
        Tokenizer.from_metadata(metadata)
    assert len(str(info.value)) < 400


def test_numpy_arrays_and_missing_types(bpe_metadata, spm_metadata) -> None:
    metadata = spm_metadata()
    for key, dtype in (("scores", np.float32), ("token_type", np.int32)):
        metadata[f"tokenizer.ggml.{key}"] = np.array(metadata[f"tokenizer.ggml.{key}"], dtype)
    expected = Tokenizer.from_metadata(spm_metadata()).encode("once")
    assert Tokenizer.from_metadata(metadata).encode("once") == expected
    metadata = bpe_metadata()
    del metadata["tokenizer.ggml.token_type"]
    assert Tokenizer.from_metadata(metadata).decode(range(256), first=False)


@pytest.mark.parametrize("kind", ["spm", "bpe"])
def test_tokens_without_spelling(request: pytest.FixtureRequest, kind: str) -> None:
    metadata = request.getfixturevalue(f"{kind}_metadata")()
    metadata["tokenizer.ggml.tokens"] = ["", "", *metadata["tokenizer.ggml.tokens"], ""]
    metadata["tokenizer.ggml.token_type"] = [1, 3, *metadata["tokenizer.ggml.token_type"], 4]
    metadata["tokenizer.ggml.scores"] = [0.0, 0.0, *metadata["tokenizer.ggml.scores"], 0.0]
    tokenizer = Tokenizer.from_metadata(metadata)
    ids = tokenizer.encode("once", add_bos=False, parse_special=True)
    assert tokenizer.decode(ids) == "once"
    assert tokenizer.token_bytes(0) == tokenizer.token_bytes(tokenizer.n_vocab - 1) == b""


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(), st.text(max_size=3),
    st.lists(st.one_of(st.integers(-1, 7), st.floats(), st.text(max_size=3)), max_size=4),
)  # fmt: skip
KEYS = st.sampled_from(
    ["model", "pre", "tokens", "scores", "token_type", "merges", "bos_token_id", "eos_token_id",
     "unknown_token_id", "add_bos_token", "add_space_prefix", "fim_sep_token_id"]
)  # fmt: skip


@given(changes=st.dictionaries(KEYS, ODD, max_size=3), place=st.integers(0, 280), item=ODD)
@pytest.mark.parametrize("kind", ["spm", "bpe"])
def test_any_metadata_give_a_tokenizer_or_an_error(
    request: pytest.FixtureRequest, kind: str, changes: dict[str, Any], place: int, item: object
) -> None:
    metadata = request.getfixturevalue(f"{kind}_metadata")(**changes)
    tokens = metadata["tokenizer.ggml.tokens"]
    if isinstance(tokens, list) and place < len(tokens):
        tokens[place] = item
    try:
        tokenizer = Tokenizer.from_metadata(metadata)
        tokenizer.decode(tokenizer.encode("once hello <tool>é\n", parse_special=True))
    except SmeltError as error:
        assert str(error)
