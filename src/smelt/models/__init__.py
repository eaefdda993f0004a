"""Architectures: one file each, named as GGUF's general.architecture names it.

A module defines record(recorder), which records the ops of one step and leaves the logits as the
last op's value. Nothing has to be registered: the file's name is the registration.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import cast

from ..errors import UnsupportedModelError
from ..graph.ops import Recorder

__all__ = ["architecture", "architectures"]


def architectures() -> list[str]:
    """Names of the architectures that smelt can run."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in {"blocks"})


def architecture(name: str) -> Callable[[Recorder], None]:
    """The record function of an architecture; UnsupportedModelError if there is none."""
    if name not in architectures():
        raise UnsupportedModelError(
            f"architecture {name!r} is not supported; smelt runs {', '.join(architectures())}"
        )
    return cast("Callable[[Recorder], None]", import_module(f".{name}", __name__).record)
