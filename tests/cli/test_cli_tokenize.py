"""`smelt tokenize`: ids and pieces, and where the text comes from."""

import io
import json

import pytest

from smelt.tokenizer import Tokenizer

BYTE_0 = 3  # the id of <0x00>


def feed(monkeypatch, data: bytes) -> None:
    """Makes bytes the standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_ids_are_those_of_the_tokenizer(smelt, vocabulary):
    expected = Tokenizer.from_gguf(vocabulary).encode("the cat.")
    assert expected[0] == 1
    assert smelt("tokenize", vocabulary, "the cat.", "--ids") == (
        0,
        f"{' '.join(map(str, expected))}\n",
        "",
    )
    for arguments in (["the cat.", "--json"], ["--json", "the cat."], ["--json", "-p", "the cat."]):
        code, out, _ = smelt("tokenize", vocabulary, *arguments)
        assert code == 0
        assert json.loads(out)["ids"] == expected


def test_pieces_are_quoted_and_special_tokens_are_not(smelt, vocabulary):
    code, out, _ = smelt("tokenize", vocabulary, "the\ncat")
    assert code == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    ids = Tokenizer.from_gguf(vocabulary).encode("the\ncat")
    assert lines[0] == [str(len(ids)), "tokens"]
    assert [int(line[0]) for line in lines[2:]] == ids
    pieces = [line[1] for line in lines[2:]]
    assert pieces[0] == "<s>"
    assert r'"\n"' in pieces
    assert "".join(piece.strip('"') for piece in pieces[1:]) == r" the\ncat"


def test_parts_of_a_character_are_shown_as_bytes(smelt, vocabulary):
    code, out, _ = smelt("tokenize", vocabulary, "é", "--no-bos", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["ids"][-2:] == [BYTE_0 + 0xC3, BYTE_0 + 0xA9]
    assert found["pieces"][-2:] == [r"\xc3", r"\xa9"]


@pytest.mark.parametrize(("option", "first"), [("--bos", 1), ("--no-bos", None)])
def test_the_beginning_token_can_be_chosen(smelt, vocabulary, option, first):
    _, out, _ = smelt("tokenize", vocabulary, "the", option, "--ids")
    assert (int(out.split()[0]) == 1) == (first == 1)


def test_special_tokens_are_text_unless_asked_for(smelt, vocabulary):
    assert smelt("tokenize", vocabulary, "</s>", "--ids")[1].split()[-1] != "2"
    assert smelt("tokenize", vocabulary, "</s>", "--ids", "--parse-special")[1].split()[-1] == "2"


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_text_from_a_file_or_stdin_loses_one_newline(
    smelt, vocabulary, tmp_path, monkeypatch, ending
):
    file = tmp_path / "text"
    file.write_bytes(f"the\r\ncat{ending}".encode())
    _, expected, _ = smelt("tokenize", vocabulary, "the\r\ncat", "--ids")
    assert smelt("tokenize", vocabulary, "-f", file, "--ids") == (0, expected, "")
    for arguments in ([], ["-f", "-"]):
        feed(monkeypatch, file.read_bytes())
        assert smelt("tokenize", vocabulary, "--ids", *arguments) == (0, expected, "")


@pytest.mark.parametrize("arguments", [["--prompt=-the"], ["-p-the"], ["--", "-the"]])
def test_a_text_may_begin_with_a_dash(smelt, vocabulary, arguments):
    expected = Tokenizer.from_gguf(vocabulary).encode("-the")
    code, out, _ = smelt("tokenize", vocabulary, "--json", *arguments)
    assert code == 0
    assert json.loads(out)["ids"] == expected


def test_only_one_newline_is_dropped(smelt, vocabulary, monkeypatch):
    feed(monkeypatch, b"\n\n")
    assert smelt("tokenize", vocabulary, "--ids")[1].split()[-1] == str(BYTE_0 + 10)


def test_an_empty_text_is_a_text(smelt, vocabulary):
    assert smelt("tokenize", vocabulary, "", "--ids") == (0, "1\n", "")
    assert smelt("tokenize", vocabulary, "", "--no-bos") == (0, "0 tokens\n", "")
    assert smelt("tokenize", vocabulary, "")[1].startswith("1 token\n")


def test_bytes_that_are_no_text_are_refused(smelt, vocabulary, tmp_path, monkeypatch):
    file = tmp_path / "latin-1"
    file.write_bytes(b"caf\xe9 noir")
    message = "expected a text in UTF-8, found byte 0xe9 at offset 3\n"
    assert smelt("tokenize", vocabulary, "-f", file) == (1, "", f"smelt: error: {file}: {message}")
    feed(monkeypatch, b"caf\xe9 noir")
    assert smelt("tokenize", vocabulary) == (1, "", f"smelt: error: stdin: {message}")
    code, _, err = smelt("tokenize", vocabulary, "caf\udce9")
    assert code == 1
    assert "surrogate" in err


def test_no_text_and_nothing_piped_in_is_wrong_usage(smelt, vocabulary, monkeypatch):
    feed(monkeypatch, b"")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, _, err = smelt("tokenize", vocabulary)
    assert code == 2
    assert "no text: give it as an argument" in err


def test_real_vocabularies_without_weights(smelt, shared):
    code, out, _ = smelt("tokenize", shared / "vocab/ggml-vocab-qwen2.gguf", "Hello 🦙", "--json")
    assert code == 0
    assert json.loads(out)["pieces"][:2] == ["Hello", r" \xf0\x9f"]
