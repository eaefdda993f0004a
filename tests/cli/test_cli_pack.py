"""`smelt pack`: what smelt.pack does, and how it is told."""

from __future__ import annotations

import json

import pytest

from tiny_model import write_tiny_llama


@pytest.fixture
def source(tmp_path):
    return write_tiny_llama(tmp_path / "tiny.gguf")


def test_the_file_and_what_is_said_of_it(smelt, source):
    code, shown, err = smelt("pack", source, "--threads", "2")
    assert (code, err) == (0, "")
    first, second = shown.splitlines()
    assert first == f"{source}.packed"
    assert "iB, made in " in second
    assert smelt("generate", source, "the", "--device", "cpu", "--max-tokens", "4")[0] == 0


def test_json(smelt, source):
    code, shown, err = smelt("pack", source, "--json")
    assert (code, err) == (0, "")
    report = json.loads(shown)
    packed = source.with_name("tiny.gguf.packed")
    assert report["path"] == str(packed)
    assert report["file_bytes"] == packed.stat().st_size
    assert report["seconds"] > 0


def test_a_stale_file_is_told_and_made_anew(spawn, smelt, source):
    smelt("pack", source)
    write_tiny_llama(source, seed=1)
    generate = ("generate", source, "the", "--device", "cpu", "--max-tokens", "4")
    _, err = spawn(*generate).communicate()
    assert b"tiny.gguf.packed was made of another tiny.gguf" in err
    assert smelt("pack", source)[0] == 0
    _, err = spawn(*generate).communicate()
    assert b"packed" not in err


def test_somebody_elses_file_stays(smelt, source):
    other = source.with_name("tiny.gguf.packed")
    other.write_text("mine")
    code, shown, err = smelt("pack", source)
    assert (code, shown) == (1, "")
    assert err == (
        f"smelt: error: {other}: Not packed matrices, or damaged ones: delete the file or move it, "
        "and pack again\n"
    )
    assert other.read_text() == "mine"


def test_the_packed_file_is_no_model(smelt, source):
    smelt("pack", source)
    code, shown, err = smelt("generate", f"{source}.packed", "the")
    assert (code, shown) == (1, "")
    assert err == (
        f"smelt: error: {source}.packed: expected a model, found what `smelt pack` has made of "
        "one; name the model beside it\n"
    )
