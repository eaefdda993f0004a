"""`smelt surprise`: colours in a terminal, a table elsewhere, and the Engine's numbers."""

import json
import math
import re

import pytest

from smelt import Engine
from smelt.cli.surprise import STYLES
from smelt.report.surprise import LEVEL_NAMES

TEXT = "the cat sat"


def test_json_has_the_logits_probabilities(smelt, model):
    code, out, err = smelt("surprise", model, TEXT, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    with Engine(model, device="cpu") as engine:
        ids = engine.tokenize(TEXT)
        logits = engine.logits(ids).astype("float64")
    assert [token["id"] for token in report["tokens"]] == ids
    assert report["tokens"][0]["bits"] is None
    bits = []
    for at, token in enumerate(report["tokens"][1:]):
        row = logits[at]
        loss = math.log(sum(math.exp(x - row.max()) for x in row)) + row.max() - row[ids[at + 1]]
        bits.append(loss / math.log(2))
        assert token["bits"] == pytest.approx(bits[-1])
        assert token["probability"] == pytest.approx(2 ** -bits[-1])
        assert token["expected"][0][0] == row.argmax()
    assert report["mean_bits"] == pytest.approx(sum(bits) / len(bits))
    assert report["perplexity"] == pytest.approx(2 ** (sum(bits) / len(bits)))
    assert report["next"][0][0] == logits[-1].argmax()


def test_elsewhere_than_in_a_terminal_it_is_a_table(smelt, model):
    code, out, err = smelt("surprise", model, TEXT)
    assert (code, err) == (0, "")
    header, first, *rows, summary = out.splitlines()
    assert header.split() == ["id", "token", "probability", "bits", "rank", "expected"]
    assert first.split() == ["1", "<s>"]
    assert rows[0].split()[1] == "␣the"
    assert re.fullmatch(r"\d+ tokens, [\d.]+ bits a token, perplexity \S+", summary)
    assert len(rows) + 1 == int(summary.split()[0])
    assert "\x1b" not in out


def test_in_a_terminal_the_text_is_coloured(model, spawn, terminal):
    inside = terminal.inside(100)
    process = spawn("surprise", model, TEXT, stdout=inside, stderr=inside)
    shown = terminal.read()
    assert process.wait() == 0
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert TEXT in plain
    assert all(name in plain for name in LEVEL_NAMES)
    assert "bits a token" in plain


def test_no_color_is_respected(smelt, model, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in smelt("surprise", model, TEXT)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    out = smelt("surprise", model, TEXT)[1]
    assert "\x1b[" not in out and "probability" in out.splitlines()[0]


def test_the_terminal_is_safe_from_the_text(smelt, model, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = smelt("surprise", model, "a\x1b]0;title\x07b [red]c[/red]")[1]
    assert "\x1b]" not in out and "\x07" not in out
    assert "[red]" in re.sub(r"\x1b\[[\d;]*m", "", out)


def test_as_many_styles_as_levels():
    assert len(STYLES) == len(LEVEL_NAMES)


def test_a_text_longer_than_the_context_is_cut_and_said_so(smelt, model):
    code, out, err = smelt("surprise", model, "the cat. " * 200, "--json")
    assert code == 0
    assert "the first 256, which the context holds, were read" in err
    assert len(json.loads(out)["tokens"]) == 256
    code, out, err = smelt("surprise", model, "the cat. " * 200, "--json", "--tokens", "5")
    assert (code, err) == (0, "") and len(json.loads(out)["tokens"]) == 5


def test_one_token(smelt, model):
    code, out, err = smelt("surprise", model, TEXT, "--tokens", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "1 token, which nothing stands before"
    assert json.loads(smelt("surprise", model, TEXT, "--tokens", "1", "--json")[1])[
        "perplexity"
    ] is None  # fmt: skip
