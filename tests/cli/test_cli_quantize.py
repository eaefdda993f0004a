"""`smelt quantize`: what smelt.quantize does, and how it is told."""

from __future__ import annotations

import json

import pytest

from smelt.gguf_file import GGUFFile
from smelt.mixtures import MIXTURES
from tiny_model import write_tiny_llama


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("cli") / "f16.gguf", format="f16")


def test_the_file_and_its_table(smelt, source, tmp_path):
    out = tmp_path / "out.gguf"
    code, shown, err = smelt("quantize", source, out, "--threads", "2")
    assert (code, err) == (0, "")
    lines = shown.splitlines()
    assert lines[0] == str(out)
    assert lines[1].split() == ["format", "tensors", "weights", "size", "bits/weight"]
    assert {line.split()[0] for line in lines[2:-1]} == {"q4_k", "q6_k", "f32", "total"}
    assert " of tensors became " in lines[-1]
    with GGUFFile(out) as file:
        assert file.metadata["general.file_type"] == MIXTURES["Q4_K_M"].file_type


def test_json(smelt, source, tmp_path):
    out = tmp_path / "out.gguf"
    code, shown, err = smelt("quantize", source, out, "q8_0", "--json")
    assert (code, err) == (0, "")
    report = json.loads(shown)
    assert report["file_bytes"] == out.stat().st_size
    assert report["formats"][0]["format"] == "q8_0"
    assert report["total"]["bytes"] < report["bytes_before"]
    assert report["fallbacks"] == []
    assert report["seconds"] > 0


def test_rows_that_do_not_fit_are_told(smelt, tmp_path):
    source = write_tiny_llama(tmp_path / "in.gguf", format="f32", d_model=96, d_ff=172)
    code, shown, _ = smelt("quantize", source, tmp_path / "out.gguf", "Q4_K_S")
    assert code == 0
    assert "such as token_embd.weight, fit no whole number of blocks" in shown


def test_an_existing_file_needs_force(smelt, source, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    code, shown, err = smelt("quantize", source, out)
    assert (code, shown) == (1, "")
    assert err == (
        f"smelt: error: {out}: File exists; --force, in Python overwrite=True, replaces it\n"
    )
    assert out.read_text() == "mine"
    assert smelt("quantize", source, out, "--force")[0] == 0


def test_a_tensor_that_cannot_be_quantised_is_named(smelt, model, tmp_path):
    code, shown, err = smelt("quantize", model, tmp_path / "out.gguf", "Q6_K")
    assert (code, shown) == (1, "")
    assert err.startswith(f"smelt: error: {model}: tensor ")
    assert "found q4_k" in err
    assert list(tmp_path.iterdir()) == []


def test_progress_is_for_terminals(spawn, terminal, source, tmp_path):
    process = spawn("quantize", source, tmp_path / "a.gguf", stderr=terminal.inside(80))
    assert "quantising to Q4_K_M" in terminal.read()
    assert process.wait() == 0


def test_help_lists_the_mixtures(smelt):
    _, shown, _ = smelt("quantize", "--help")
    for mixture in MIXTURES:
        assert f"\n  {mixture} " in shown
