"""What the tests of the Engine share: a small random model, prompts, when answers are equal, and
processes in which a test may hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smelt
from smelt.completion import Completion
from tiny_model import BOS

N_CTX = 192
SMALL: dict[str, Any] = {"format": "q8_0", "d_model": 64, "d_ff": 96, "n_ctx": N_CTX}
HANG = 30  # seconds, for a machine that is only slow
SOURCES = Path(smelt.__file__).parents[1]
SAMPLED: dict[str, Any] = {"temperature": 1.2, "top_k": 40, "top_p": 0.95, "seed": 7}


def same(a: Completion, b: Completion) -> bool:
    """Equal in everything but the times."""
    fields = ("text", "token_ids", "finish_reason", "logprobs", "prompt_token_ids")
    return all(getattr(a, name) == getattr(b, name) for name in fields)


def prompt_ids(n: int, seed: int = 0) -> list[int]:
    """BOS and n - 1 random tokens; with the same seed one prompt is the beginning of another."""
    return [BOS, *np.random.default_rng(seed).integers(3, 384, 1000).tolist()[: n - 1]]


def in_a_process(code: str, *arguments: object) -> str:
    """The output of a Python program; a failure if it fails or hangs."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCES), *sys.path])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HANG, check=False
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"the process hangs; it said {late.stdout!r} {late.stderr!r}")
    assert done.returncode == 0, done.stderr
    return done.stdout
