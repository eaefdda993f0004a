"""The model that comes with smelt: a small storyteller, made by tools/default_model.

What it can do, how it was trained and what it was measured at stands in
tools/default_model/MODEL_CARD.md.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SmeltError

__all__ = ["FILE_NAME", "default_model_path"]

FILE_NAME = "smelt-tales-7M-Q5_K_M.gguf"


def default_model_path() -> Path:
    """The file of the model that comes with smelt. SmeltError where the installation lacks it."""
    path = Path(__file__).parent / FILE_NAME
    if not path.is_file():
        raise SmeltError(
            f"{path}: the model that comes with smelt is not there; install smelt again, or name "
            "a GGUF file"
        )
    return path
