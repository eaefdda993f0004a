"""`smelt compare`: what compare() finds, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from smelt import Engine, compare
from tiny_model import write_tiny_llama

TEXT = "the cat sat on the mat. " * 20
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's vocabulary, and other weights."""
    return write_tiny_llama(tmp_path_factory.mktemp("cli") / "other.gguf", seed=1)


def test_the_numbers_are_those_of_compare(smelt: Run, model: Path, other: Path, file: Path) -> None:
    with Engine(model) as base, Engine(other) as judged:
        expected = compare(base, judged, TEXT, 32, chunks=3)
    arguments = ["compare", model, other, file, "--n-ctx", "32", "--chunks", "3"]
    code, out, err = smelt(*arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["base_model"], report["model"]) == (str(model), str(other))
    assert report["perplexity"]["value"] == expected.perplexity.value
    assert report["divergence"]["mean"]["value"] == expected.divergence.mean.value
    assert report["divergence"]["percentiles"]["99.9"] == expected.divergence.percentiles[99.9]
    code, out, err = smelt(*arguments)
    assert (code, err) == (0, "")
    cells = [line.split() for line in out.splitlines()]
    mean, change = expected.divergence.mean, expected.change.mean
    assert [
        "mean",
        *(f"{mean.value:.6f}", "±", f"{mean.stderr:.6f}"),
        *(f"{100 * change.value:+.3f}", "%", "±", f"{100 * change.stderr:.3f}"),
    ] in cells
    ratio = expected.ratio
    assert ["ratio", f"{ratio.value:.6f}", "±", f"{ratio.stderr:.6f}"] in cells
    assert out.splitlines()[-1].strip() == "45 tokens scored in 3 chunks of 32"


def test_models_that_cannot_be_compared(
    smelt: Run, model: Path, file: Path, tmp_path: Path
) -> None:
    larger = write_tiny_llama(tmp_path / "larger.gguf", n_vocab=400)
    code, out, err = smelt("compare", model, larger, file, "--n-ctx", "32")
    assert (code, out) == (1, "")
    assert err.startswith("smelt: error: ") and "384 and 400 tokens" in err
    assert err.count("\n") == 1


def test_help_has_examples(smelt: Run) -> None:
    code, out, _ = smelt("compare", "--help")
    assert code == 0 and "smelt compare model-F16.gguf model-Q4_K_M.gguf" in out
