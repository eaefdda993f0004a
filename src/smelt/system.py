"""What smelt finds on this machine and chooses there: the facts behind `smelt info --system`."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from typing import Any

from . import __version__, _cpu, machine
from .backends import check_device
from .backends.cpu import choose_instruction_set, default_threads
from .errors import DeviceError

__all__ = ["describe_system"]


def describe_system() -> dict[str, Any]:
    """All of it, ready for JSON: sizes in bytes, and a sentence for each choice."""
    return {
        "versions": _versions(),
        "cpu": {
            "name": machine.cpu_name(),
            "architecture": platform.machine(),
            **machine.core_counts(),
            "caches": machine.caches(),
        },
        "memory": {**machine.memory(), "asked_for_huge_pages": _asks_for_huge_pages()},
        "instruction_sets": _instruction_sets(),
        "unused_features": [name for name, here in _cpu.unused_features().items() if here],
        "choices": _choices(),
        "metal": _metal(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith("SMELT_")
        },
    }


def _versions() -> dict[str, str]:
    import numpy as np

    return {
        "smelt": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
        "compiler": _cpu.compiler,
    }


def _asks_for_huge_pages() -> bool:
    """Whether packed matrices ask for huge pages: they lie in memory of NumPy, which asks unless
    NUMPY_MADVISE_HUGEPAGE says not to."""
    try:
        return bool(import_module("numpy._core._multiarray_umath")._get_madvise_hugepage())
    except (ImportError, AttributeError):  # NumPy 1
        return os.environ.get("NUMPY_MADVISE_HUGEPAGE", "1") != "0"


def _instruction_sets() -> list[dict[str, Any]]:
    """Those of this build, from the plainest to the widest; needs: {feature: whether it is here}.
    tiles: what their kernels keep in registers (native/cpu/cpu.h)."""
    available = _cpu.instruction_sets()
    return [
        {
            "name": name,
            "available": name in available,
            "needs": _cpu.instruction_set_needs(index),
            "tiles": _cpu.instruction_set_tiles(index),
        }
        for index, name in enumerate(_cpu.known_instruction_sets())
    ]


def _choices() -> dict[str, dict[str, Any]]:
    """{"device": {"value": ..., "why": ...}, ...}; a value is None where nothing can be chosen."""
    widest, wanted = _cpu.instruction_sets()[-1], os.environ.get("SMELT_ISA", "")
    named = os.environ.get("SMELT_DEVICE", "")
    choices: dict[str, dict[str, Any]] = {}

    def choose(what: str, choice: Any, why: str) -> None:
        try:
            choices[what] = {"value": choice(), "why": why}
        except DeviceError as error:
            choices[what] = {"value": None, "why": str(error)}

    choose(
        "device",
        lambda: check_device("auto"),
        f"SMELT_DEVICE={named}" if named else "SMELT_DEVICE is not set: the fastest here",
    )
    choose(
        "instruction_set",
        choose_instruction_set,
        f"SMELT_ISA={wanted}; the widest here is {widest}"
        if wanted
        else "SMELT_ISA is not set: the widest here",
    )
    choose("threads", default_threads, "one a core that this process may use")
    return choices


def _metal() -> dict[str, Any]:
    """The GPU of the Metal device, or why there is none."""
    from .backends import metal

    if reason := metal.why_unavailable():
        return {"available": False, "why": reason}
    try:
        return {"available": True, **metal.Device().native.info()}
    except DeviceError as error:
        return {"available": False, "why": str(error)}
