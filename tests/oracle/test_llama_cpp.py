"""Options of an architecture that no model of the oracle has, beside llama.cpp itself.

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

from smelt import Engine
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
    task = {"models": [str(path) for path in paths], "tokens": tokens, "n_vocab": N_VOCAB}
    script, answers = Path(__file__).with_name("run_llama_cpp.py"), tmp_path / "answers.json"
    subprocess.run(
        [sys.executable, str(script), str(answers)],
        input=json.dumps(task).encode(),
        check=True,
        timeout=120,
    )
    for path, options, wanted in zip(paths, VARIANTS, json.loads(answers.read_text()), strict=True):
        with Engine(path, kv_type="f32") as engine:
            logits = engine.logits(tokens)[-1].astype(np.float64)
        got = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        np.testing.assert_allclose(got, wanted, atol=1e-4, err_msg=str(options))
