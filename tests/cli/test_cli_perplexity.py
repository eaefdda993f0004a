"""`smelt perplexity`: what the Engine measures."""

import json

import pytest

from smelt import Engine

TEXT = "the cat sat on the mat. " * 20


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


def test_the_numbers_are_the_engine_s(smelt, model, file):
    with Engine(model, kv_type="f32") as engine:
        expected = engine.perplexity(TEXT, n_ctx=32)
    arguments = ["perplexity", model, file, "--n-ctx", "32", "--kv-type", "f32"]
    code, out, err = smelt(*arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["perplexity"] == expected.value
    assert report["stderr"] == expected.stderr
    assert report["n_tokens"] == expected.n_tokens
    assert report["n_ctx"] == 32
    code, out, err = smelt(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith(f"perplexity {expected.value:.4f} ± {expected.stderr:.4f}, ")


def test_the_first_chunks(smelt, model, file):
    code, out, _ = smelt("perplexity", model, file, "--n-ctx", "32", "--chunks", "2", "--json")
    report = json.loads(out)
    assert (code, report["n_chunks"], report["n_tokens"]) == (0, 2, 30)


def test_one_token_has_no_error_and_json_no_nan(smelt, model, file):
    out = smelt("perplexity", model, file, "--n-ctx", "4", "--chunks", "1", "--json")[1]
    assert json.loads(out)["stderr"] is None and "NaN" not in out


def test_a_terminal_sees_the_error_shrink(spawn, terminal, model, file):
    arguments = ["perplexity", model, file, "--n-ctx", "32"]
    process = spawn(*arguments, stderr=terminal.inside(120))
    shown = terminal.read()
    out = process.communicate()[0].decode()
    assert process.returncode == 0
    assert " ".join(out.split()[1:4]).rstrip(",") in shown  # the result was the last estimate


def test_a_text_that_is_too_short_is_one_line(smelt, model, file):
    file.write_text("the")
    code, out, err = smelt("perplexity", model, file, "--n-ctx", "256")
    assert (code, out) == (1, "")
    assert err.startswith("smelt: error: the text has ")
    assert err.count("\n") == 1
