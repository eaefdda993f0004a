"""Llama (Touvron et al. 2023, arXiv:2302.13971) and the models that share its shape: Llama 2 and 3,
TinyLlama, Mistral, SmolLM."""

from __future__ import annotations

from ..graph.ops import Recorder
from .blocks import decoder

__all__ = ["record"]


def record(r: Recorder) -> None:
    """GGUF stores Llama's projections with the two dimensions of a rotation side by side."""
    decoder(r, neox=False)
