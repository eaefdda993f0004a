"""Devices: each module offers a class Device with the surface of backends.base.Device."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ..errors import DeviceError
from .base import Device

__all__ = ["DEVICES", "Device", "check_device", "open_device"]

DEVICES = ("cpu", "reference")


def check_device(name: str) -> str:
    """The device that a name means ("auto": the fastest one of this machine), or DeviceError."""
    chosen = "cpu" if name == "auto" else name
    if chosen not in DEVICES:
        known = ", ".join(("auto", *DEVICES))
        raise DeviceError(f"device {name!r} is not known; smelt has {known}")
    return chosen


def open_device(name: str, threads: int | None = None) -> Device:
    """Opens a device by name; DeviceError if it is not known or refuses."""
    return cast(Device, import_module(f".{check_device(name)}", __name__).Device(threads))
