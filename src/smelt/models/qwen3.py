"""Qwen3 (Yang et al. 2025, arXiv:2505.09388), dense: instead of Qwen2's biases, an RMS norm of each
head of queries and keys (Henry et al. 2020, arXiv:2010.04245, with a gain in the place of a norm of
one), and heads of 128 dimensions whatever d_model is."""

from __future__ import annotations

from ..graph.ops import Recorder
from .blocks import decoder

__all__ = ["record"]


def record(r: Recorder) -> None:
    """The dimensions of a rotation lie half a head apart, as in the model's own code."""
    decoder(r, neox=True, head_norms=True)
