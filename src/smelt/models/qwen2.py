"""Qwen2 (Yang et al. 2024, arXiv:2407.10671) and Qwen2.5: a Llama with biases on queries, keys and
values."""

from __future__ import annotations

from ..graph.ops import Recorder
from .blocks import decoder

__all__ = ["record"]


def record(r: Recorder) -> None:
    """The dimensions of a rotation lie half a head apart, as in the model's own code."""
    decoder(r, neox=True)
