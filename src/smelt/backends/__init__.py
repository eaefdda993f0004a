"""Devices: each module offers a class Device with the surface of backends.base.Device."""

from __future__ import annotations

import logging
import os
import platform
import sys
from importlib import import_module
from typing import cast

from ..errors import DeviceError
from .base import Device

__all__ = ["DEVICES", "Device", "check_device", "open_device"]

DEVICES = ("cpu", "metal", "reference")

logger = logging.getLogger("smelt")


def check_device(name: str) -> str:
    """The device that a name means ("auto": the one of SMELT_DEVICE, or else the fastest one of
    this machine), or DeviceError."""
    chosen = _named() or _fastest() if name == "auto" else name
    if chosen not in DEVICES:
        known = ", ".join(("auto", *DEVICES))
        raise DeviceError(f"device {chosen!r} is not known; smelt has {known}")
    return chosen


def open_device(name: str, threads: int | None = None) -> Device:
    """Opens a device by name; DeviceError if it is not known or refuses. "auto" falls back to the
    CPU where a GPU is there that cannot be used."""
    chosen = check_device(name)
    try:
        return _open(chosen, threads)
    except DeviceError as error:
        if chosen in (name, _named(), "cpu"):
            raise
        logger.warning("%s; the CPU is used instead", str(error))
        return _open("cpu", threads)


def _open(name: str, threads: int | None) -> Device:
    return cast(Device, import_module(f".{name}", __name__).Device(threads))


def _named() -> str:
    """The device that SMELT_DEVICE names, or ""."""
    named = os.environ.get("SMELT_DEVICE", "")
    return "" if named == "auto" else named


def _fastest() -> str:
    """A real GPU: where Metal is only simulated, "metal" has to be asked for, and Macs with other
    processors than Apple's have none that it runs on."""
    if (sys.platform, platform.machine()) != ("darwin", "arm64"):
        return "cpu"
    from .metal import why_unavailable

    return "cpu" if why_unavailable() else "metal"
