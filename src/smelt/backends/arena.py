"""The values of a loaded program as NumPy arrays over its memory, without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import DeviceError

if TYPE_CHECKING:
    import numpy as np

    from ..graph.ops import Value
    from ..graph.program import Program

__all__ = ["Arena"]


class Native(Protocol):
    """The compiled program that has the memory."""

    def value_address(self, value: int) -> int:
        """Where a value lies, by its index; 0 for the logits."""


class Arena:
    """Views of float32 [n_rows, *shape], which the program's next step overwrites."""

    def __init__(self, native: Native, program: Program):
        self._native = native
        self._indices = {value: index for index, value in enumerate(program.values)}
        self._rows = {"tokens": program.max_tokens, "logits": program.max_logits}
        self._views: dict[Value, np.ndarray] = {}

    def read(self, value: Value, n_rows: int) -> np.ndarray:
        """See LoadedProgram.read."""
        view = self._views.get(value)
        if view is None:
            view = self._views[value] = self._view(value)
        return view[:n_rows]

    def _view(self, value: Value) -> np.ndarray:
        from ctypes import c_float

        from numpy.ctypeslib import as_array

        address = self._native.value_address(self._indices[value])
        if not address:
            raise DeviceError(f"value {value.name} has no place in the arena")
        n_rows = self._rows[value.rows]
        memory = (c_float * (n_rows * value.width)).from_address(address)
        memory.owner = self._native  # type: ignore[attr-defined]  # the view keeps the memory
        view = as_array(memory).reshape(n_rows, *value.shape)
        view.flags.writeable = False
        return view
