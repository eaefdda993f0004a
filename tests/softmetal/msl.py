"""Runs one MSL kernel on NumPy arrays, on the software GPU.

    from softmetal.msl import Library, available
    library = Library.of_file("metal/norms.metal")       # or Library(text)
    y = np.zeros((rows, width), np.float32)
    library.run(
        "rms_norm",
        {0: step, 1: step_data, 2: args, 3: x, 4: gain, 5: y},   # bytes or arrays, by buffer index
        threadgroups=rows, threads=256,                   # int or tuple of up to three
        constants={12: True},                             # function constants by index or by name
        threadgroup={0: 1024},                            # bytes of [[threadgroup(n)]]
    )                                                     # y now holds the result, or MslError

Writable arrays are copied into guarded memory and back, so an access beyond their end is reported.
"""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from softmetal import flags

REPOSITORY = Path(__file__).resolve().parents[2]
BUFFERS, CONSTANTS = 31, 64
BOOL, INT, FLOAT = range(3)


class MslError(Exception):
    """The compiler's diagnostics, or the first fault of a dispatch."""


class _Binding(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int32), ("f", ctypes.c_float)]


class _Constants(ctypes.Structure):
    _fields_ = [("defined", ctypes.c_uint64), ("values", _Value * CONSTANTS)]


class _Constant(ctypes.Structure):
    _fields_ = [("index", ctypes.c_int), ("type", ctypes.c_int), ("name", ctypes.c_char_p)]


class _Argument(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("writable", ctypes.c_int),
        ("element_bytes", ctypes.c_size_t),
        ("alignment", ctypes.c_size_t),
        ("by_reference", ctypes.c_int),
        ("condition", ctypes.c_int),
        ("name", ctypes.c_char_p),
    ]


class _Function(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("n_arguments", ctypes.c_int),
        ("arguments", ctypes.POINTER(_Argument)),
        ("max_threads", ctypes.c_int),
    ]


class _Dispatch(ctypes.Structure):
    _fields_ = [
        ("function", ctypes.POINTER(_Function)),
        ("constants", ctypes.POINTER(_Constants)),
        ("buffers", _Binding * BUFFERS),
        ("threadgroup_bytes", ctypes.c_size_t * BUFFERS),
        ("threadgroups", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32 * 3),
        ("resident", ctypes.POINTER(_Binding)),
        ("n_resident", ctypes.c_int),
        ("epoch", ctypes.c_uint64),
        ("dispatch", ctypes.c_uint64),
    ]


class _Fault(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 1024)]


def _reason() -> str:
    try:
        flags.clang()
    except flags.MissingError as error:
        return f"the kernels' executor needs {error}"
    return ""


unavailable_reason = _reason()
available = not unavailable_reason

_loaded: ctypes.CDLL | None = None
_numbers = itertools.count(1)


def _executor() -> ctypes.CDLL:
    global _loaded
    if _loaded is None:
        lib = ctypes.CDLL(str(flags.build_executor()))
        text, error = ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)
        lib.msl_compile.argtypes = [text, text, ctypes.c_int, error]
        lib.msl_compile.restype = ctypes.c_void_p
        lib.msl_release.argtypes = [ctypes.c_void_p]
        lib.msl_function_count.argtypes = lib.msl_constant_count.argtypes = [ctypes.c_void_p]
        lib.msl_function_at.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.msl_function_at.restype = ctypes.POINTER(_Function)
        lib.msl_constant_at.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.msl_constant_at.restype = ctypes.POINTER(_Constant)
        lib.msl_execute.argtypes = [
            ctypes.c_void_p, ctypes.POINTER(_Dispatch), ctypes.c_int, ctypes.POINTER(_Fault)
        ]  # fmt: skip
        lib.msl_allocate.argtypes = [ctypes.c_size_t]
        lib.msl_allocate.restype = ctypes.c_void_p
        lib.msl_free.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        _loaded = lib
    return _loaded


class Buffer:
    """Guarded memory; its `address` may be put into other buffers, if it is made resident."""

    def __init__(self, content: Any) -> None:
        self.source = content
        if isinstance(content, np.ndarray):
            data = np.ascontiguousarray(content).tobytes()
        else:
            data = bytes(content)
        self.length = len(data)
        self.address = _executor().msl_allocate(self.length)
        ctypes.memmove(self.address, data, self.length)

    def bytes(self) -> bytes:
        return ctypes.string_at(self.address, self.length)

    def copy_back(self) -> None:
        array = self.source
        if isinstance(array, np.ndarray) and array.flags.writeable:
            array[...] = np.frombuffer(self.bytes(), array.dtype).reshape(array.shape)

    def __del__(self) -> None:
        _executor().msl_free(self.address, self.length)


def _triple(n: int | tuple[int, ...]) -> tuple[int, int, int]:
    given = (n,) if isinstance(n, int) else tuple(n)
    x, y, z = given + (1,) * (3 - len(given))
    return int(x), int(y), int(z)


class Library:
    """A compiled MSL text."""

    def __init__(self, source: str, include: str | Path | None = None, checked: bool = False):
        error = ctypes.c_void_p()
        directory = str(include).encode() if include else None
        lib = _executor()
        self._handle = lib.msl_compile(
            source.encode(), directory, int(checked), ctypes.byref(error)
        )
        if not self._handle:
            text = ctypes.string_at(error.value or 0).decode(errors="replace")
            ctypes.CDLL(None).free(error)
            raise MslError(text)
        self.functions = {
            f.contents.name.decode(): f
            for i in range(lib.msl_function_count(self._handle))
            for f in [lib.msl_function_at(self._handle, i)]
        }
        constants = [
            lib.msl_constant_at(self._handle, i).contents
            for i in range(lib.msl_constant_count(self._handle))
        ]
        self.constants = {c.name.decode(): c.index for c in constants}
        self._types = {c.index: c.type for c in constants}

    @classmethod
    def of_file(cls, path: str | Path, checked: bool = False) -> Library:
        """A .metal file; what it includes is looked for beside it and in metal/."""
        path = Path(path) if Path(path).exists() else REPOSITORY / path
        name = path.name
        return cls(f'#line 1 "{name}"\n{path.read_text()}', REPOSITORY / "metal", checked)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _executor().msl_release(self._handle)

    def _values(self, given: dict[int | str, Any]) -> _Constants:
        values = _Constants()
        for key, value in given.items():
            index = self.constants[key] if isinstance(key, str) else key
            values.defined |= 1 << index
            if self._types.get(index) == FLOAT:
                values.values[index].f = value
            else:
                values.values[index].i = int(value)
        return values

    def run(
        self,
        kernel: str,
        buffers: dict[int, Any],
        threadgroups: int | tuple[int, ...],
        threads: int | tuple[int, ...],
        constants: dict[int | str, Any] | None = None,
        threadgroup: dict[int, int] | None = None,
        resident: list[Buffer] | None = None,
        workers: int = 1,
        epoch: int | None = None,
    ) -> None:
        """Dispatches a kernel and copies what it wrote back into the arrays.

        buffers: index -> array, bytes, ctypes structure or Buffer. Runs of one epoch have no
        barrier between them (checked mode); None: an epoch of its own. Raises MslError.
        """
        values = self._values(constants or {})
        dispatch = _Dispatch(function=self.functions[kernel], constants=ctypes.pointer(values))
        bound = {i: b if isinstance(b, Buffer) else Buffer(b) for i, b in buffers.items()}
        for i, buffer in bound.items():
            dispatch.buffers[i] = _Binding(buffer.address, buffer.length)
        for i, length in (threadgroup or {}).items():
            dispatch.threadgroup_bytes[i] = length
        dispatch.threadgroups[:] = _triple(threadgroups)
        dispatch.threads[:] = _triple(threads)
        ranges = [_Binding(b.address, b.length) for b in resident or []]
        dispatch.resident = (_Binding * len(ranges))(*ranges)
        dispatch.n_resident = len(ranges)
        dispatch.dispatch = next(_numbers)
        dispatch.epoch = dispatch.dispatch + (1 << 32) if epoch is None else epoch
        fault = _Fault()
        if _executor().msl_execute(self._handle, dispatch, workers, fault):
            raise MslError(fault.text.decode(errors="replace"))
        for buffer in bound.values():
            buffer.copy_back()
