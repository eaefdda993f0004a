"""The controls of the software Metal device (tests/softmetal/softmetal.h) for tests: failures to
plant, the log of what happened, what is still alive."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from metal_device import need_metal_device

RECORD = 2  # softmetal_on_fault: misuse is kept in a list, and the command buffer fails


class Software:
    """Functions of softmetal.h by their names without "softmetal_"."""

    def __init__(self) -> None:
        need_metal_device()
        from smelt import _metal

        self._library = ctypes.CDLL(_metal.__file__)
        if not hasattr(self._library, "softmetal_reset"):
            pytest.skip("this is a real GPU: failures cannot be planted")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, f"softmetal_{name}")

    def limit(self, name: str, n_bytes: int) -> None:
        """limit_buffer_length, limit_working_set or limit_memory."""
        getattr(self, f"limit_{name}")(ctypes.c_uint64(n_bytes))

    def _text(self, function: Any, *before: Any) -> str:
        function.restype = ctypes.c_size_t
        room = 1 << 20
        text = ctypes.create_string_buffer(room)
        function(*before, text, ctypes.c_size_t(room))
        return text.value.decode()

    def log_lines(self) -> list[str]:
        return self._text(self.log_text).splitlines()

    def faults(self) -> list[str]:
        return [self._text(self.fault, i) for i in range(self.fault_count())]

    def alive(self) -> str:
        """Objects by class, "" where none is left."""
        return self._text(self.live_classes)
