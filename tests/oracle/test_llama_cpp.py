"""What no file of the oracle has, beside llama.cpp itself: options of an architecture, and the
numbers of its comparison of two models.

Needs the xllamacpp package, and skips without. llama.cpp runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kl_statistics import check_statistics, statistics
from smelt import Engine, compare
from smelt.perplexity import log_probabilities, text_chunks
from tiny_model import write_tiny_llama

VARIANTS: list[dict[str, Any]] = [
    {},
    {"tied": True},
    {"biases": True},
    {"head_dim": 128},
    {"n_heads": 8, "n_kv_heads": 1},
    {"rope_freqs": True},
    {"rope_scaling": "linear"},
    {"rope_scaling": "yarn"},
    {"rope_scaling": "yarn", "rope_freqs": True, "n_ctx": 1024},
    {"architecture": "qwen2"},
    {"architecture": "qwen2", "rope_scaling": "yarn", "n_kv_heads": 4},
    {"architecture": "qwen3", "tied": True, "head_dim": 128},
    {"architecture": "qwen3", "rope_scaling": "yarn"},
]
N_VOCAB = 384


def test_options_mean_what_they_mean_to_llama_cpp(tmp_path: Path) -> None:
    """Log probabilities of the 52nd token, float32 weights: rounding only."""
    pytest.importorskip("xllamacpp", reason="compares with llama.cpp where xllamacpp is installed")
    tokens = [1, *np.random.default_rng(7).integers(3, 300, 50).tolist()]
    paths = [
        write_tiny_llama(tmp_path / f"{i}.gguf", "f32", n_vocab=N_VOCAB, **options)
        for i, options in enumerate(VARIANTS)
    ]
    answers = ask_llama_cpp(paths, tokens, len(tokens) - 1, N_VOCAB, tmp_path)[:, 0]
    for path, options, wanted in zip(paths, VARIANTS, answers, strict=True):
        with Engine(path, kv_type="f32") as engine:
            got = log_probabilities(engine.logits(tokens)[-1:])[0]
        np.testing.assert_allclose(got, wanted, atol=1e-4, err_msg=str(options))


def test_comparison(shared: Path, tmp_path: Path) -> None:
    """`smelt compare` beside llama.cpp's formulas, on smelt's logits and on llama.cpp's own."""
    pytest.importorskip("xllamacpp", reason="compares with llama.cpp where xllamacpp is installed")
    n_ctx = 48
    paths = [shared / "models" / f"prose-code-7m-{form}.gguf" for form in ("F16", "Q4_K_M")]
    text = (shared / "text" / "held.txt").read_text("utf-8")
    with Engine(paths[0], kv_type="f32") as base, Engine(paths[1], kv_type="f32") as model:
        result = compare(base, model, text, n_ctx, chunks=1)
        (chunk,), first = text_chunks(base, text, n_ctx, 1)
        ours = [
            np.concatenate(
                [log_probabilities(part) for part in engine.logits_in_chunks(chunk, first)]
            )[:-1]
            for engine in (base, model)
        ]
        size = np.sqrt(np.mean(base.logits(chunk) ** 2))
    targets = chunk[first + 1 :]
    assert result.n_tokens == len(targets)
    check_statistics(result, statistics(*ours, targets))
    theirs = ask_llama_cpp(paths, chunk, first, ours[0].shape[1], tmp_path)[:, :-1]
    # The root of a divergence is about a distance. What lies between the two engines' answers for
    # one file is llama.cpp's rounding of activations, to 16 bits for the base and to 8 for the
    # model: relative errors of its logits of at most 3.5e-4 and 1.8e-2 (docs/accuracy.md), and the
    # divergence is half the variance of what that moves them by.
    distances = [np.sqrt(max(divergence(a, b), 0.0)) for a, b in zip(ours, theirs, strict=True)]
    for distance, error in zip(distances, (3.5e-4, 1.8e-2), strict=True):
        assert distance < error * size
    between, rounding = np.sqrt(result.divergence.mean.value), sum(distances)
    wanted = statistics(*theirs, targets)
    assert abs(np.sqrt(wanted["divergence"][0]) - between) < rounding
    # a loss is one of the numbers whose mean square the divergence is about half of
    assert abs(wanted["log_ratio"][0] - result.log_ratio.value) < 2 * rounding
    assert abs(wanted["rms_change"][0] - result.rms_change.value) < rounding


def divergence(log_p: np.ndarray, log_q: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the rows, nats."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def ask_llama_cpp(
    paths: list[Path], tokens: list[int], first: int, n_vocab: int, folder: Path
) -> np.ndarray:
    """Log probabilities by llama.cpp of what follows each token from index `first` on:
    [n_models, n_tokens - first, n_vocab]."""
    script, answers = Path(__file__).with_name("run_llama_cpp.py"), folder / "answers.npy"
    task = {
        "models": [str(path) for path in paths],
        "tokens": tokens,
        "first": first,
        "n_vocab": n_vocab,
    }
    subprocess.run(
        [sys.executable, str(script), str(answers)],
        input=json.dumps(task).encode(),
        check=True,
        timeout=120,
    )
    found: np.ndarray = np.load(answers)
    return found
