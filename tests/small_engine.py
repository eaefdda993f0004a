"""What the tests of the Engine share: a small random model, prompts, and when answers are equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from smelt.completion import Completion
from tiny_model import BOS

N_CTX = 192
SMALL: dict[str, Any] = {"format": "q8_0", "d_model": 64, "d_ff": 96, "n_ctx": N_CTX}
SAMPLED: dict[str, Any] = {"temperature": 1.2, "top_k": 40, "top_p": 0.95, "seed": 7}


def same(a: Completion, b: Completion) -> bool:
    """Equal in everything but the times."""
    fields = ("text", "token_ids", "finish_reason", "logprobs", "prompt_token_ids")
    return all(getattr(a, name) == getattr(b, name) for name in fields)


def prompt_ids(n: int, seed: int = 0) -> list[int]:
    """BOS and n - 1 random tokens; with the same seed one prompt is the beginning of another."""
    return [BOS, *np.random.default_rng(seed).integers(3, 384, 1000).tolist()[: n - 1]]
