"""The CPU device: the compiled kernels of native/cpu."""

from __future__ import annotations

import os
import sys
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import _cpu
from ..errors import CancelledError, DeviceError
from ..graph.program import MULTIPLIES, Program, Tables, tables
from .arena import Arena
from .base import PAGE_TOKENS, Step

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    import numpy as np

    from ..config import Config
    from ..graph.ops import Value, Weight
    from .base import Top

__all__ = ["Device", "default_threads"]

assert _cpu.page_tokens == PAGE_TOKENS

ROWS = 16  # of a group, which is what packed matrices are made of
LINE = 64  # bytes of a cache line: where packed matrices begin


def default_threads() -> int:
    """One thread a core that this process may use; on Apple silicon, a performance core."""
    if sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if answer.isdigit() and int(answer) > 0:
            return int(answer)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_instruction_set() -> str:
    """The widest one this machine has, or the one that SMELT_ISA names."""
    available = _cpu.instruction_sets()
    wanted = os.environ.get("SMELT_ISA", "")
    if not wanted:
        return str(available[-1])
    if wanted not in available:
        raise DeviceError(f"SMELT_ISA={wanted}: this machine and build have {', '.join(available)}")
    return wanted


class Device:
    """Threads that run the kernels of one instruction set."""

    name = "cpu"
    most_top: int = _cpu.most_top

    def __init__(self, threads: int | None = None):
        n_threads = default_threads() if threads is None else threads
        if not 1 <= n_threads <= 1024:
            raise DeviceError(f"threads must be between 1 and 1024, found {n_threads}")
        self.isa = choose_instruction_set()
        self.threads = n_threads
        try:
            self.native = _cpu.Device(_cpu.known_instruction_sets().index(self.isa), n_threads)
        except MemoryError as error:
            raise DeviceError(f"cannot start {n_threads} threads: {error}") from None
        self.description = f"cpu, {self.isa}, {n_threads} threads"
        # where each begins, and the bytes from a group of ROWS rows to the next
        self._packed: WeakKeyDictionary[Weight, tuple[np.ndarray, int]] = WeakKeyDictionary()
        self.packed_file: Mapping[str, np.ndarray] = {}  # streams that need not be packed

    def load(self, program: Program) -> LoadedProgram:
        return LoadedProgram(self, program)

    def create_pool(self, config: Config, kv_type: str) -> PagePool:
        if kv_type not in _cpu.kv_types:
            raise DeviceError(f"kv_type must be one of {', '.join(_cpu.kv_types)}: {kv_type!r}")
        return PagePool(config, kv_type)

    def cancel(self, wanted: bool = True) -> None:
        self.native.cancel(wanted)

    def pack(self, program: Program, flat: Tables) -> None:
        """Turns the quantised matrices of a program into the device's layout (native/cpu/packed.h)
        and their records to it. A matrix is packed once, however many programs use it."""
        records = {}
        for record, (weight, multiplied) in zip(flat.weights, flat.sources, strict=True):
            if multiplied and _packed_bytes(record, weight.n_out):
                records[weight] = record
        new = {weight: record for weight, record in records.items() if weight not in self._packed}
        streams = list(_streams(program, new))
        places = [self._mapped(stream, _stream_bytes(new, stream)) for stream in streams]
        to_pack = [stream for stream, place in zip(streams, places, strict=True) if place is None]
        fresh = self._fresh([_stream_bytes(new, stream) for stream in to_pack])
        for stream, place in zip(streams, places, strict=True):
            packed, stride = next(fresh) if place is None else place, _stride(new, stream)
            for weight in stream:
                self._packed[weight] = packed, stride
                packed = packed[_packed_bytes(new[weight], 1) :]
        for weight in (weight for stream in to_pack for weight in stream):
            packed, stride = self._packed[weight]
            record_address = new[weight].__array_interface__["data"][0]
            self.native.pack(record_address, packed.ctypes.data, stride)
            weight.forget()
        for weight, record in records.items():
            packed, stride = self._packed[weight]
            record["data"], record["packed"] = packed.ctypes.data, 1
            record["row_bytes"] = stride // ROWS

    def packed_streams(self, program: Program) -> Iterator[tuple[str, np.ndarray]]:
        """The packed matrices of a program that was loaded, as packed_file has them."""
        for stream in _streams(program, self._packed):
            yield _stream_name(stream), self._packed[stream[0]][0]

    def _mapped(self, stream: list[Weight], n_bytes: int) -> np.ndarray | None:
        """The stream in packed_file, if it is there as kernels need it. Whatever its bytes say is
        safe to compute with, as the bytes of a model are; its size and its place are not."""
        found = self.packed_file.get(_stream_name(stream))
        if found is None or found.nbytes != n_bytes or found.ctypes.data % LINE:
            return None
        return found

    def _fresh(self, sizes: list[int]) -> Iterator[np.ndarray]:
        """Memory for streams of so many bytes, each from the beginning of a line on: one block,
        which the system can back with huge pages."""
        import numpy as np

        begins = list(accumulate((-(-size // LINE) * LINE for size in sizes), initial=0))
        memory = np.empty(begins[-1] + LINE, np.uint8)
        self.native.touch(memory.ctypes.data, memory.nbytes)
        memory = memory[-memory.ctypes.data % LINE :]
        for begin, size in zip(begins, sizes, strict=False):
            yield memory[begin : begin + size]


def _packed_bytes(record: np.void, n_rows: int) -> int:
    """Of so many rows of a matrix; 0 if it stays as it is."""
    return int(_cpu.packed_bytes(int(record["format"]), n_rows, int(record["n_in"])))


def _stride(records: Mapping[Weight, np.void], stream: list[Weight]) -> int:
    """Bytes from a group of rows to the next of the same matrix: those of a group of each."""
    return sum(_packed_bytes(records[weight], 1) for weight in stream)


def _stream_bytes(records: Mapping[Weight, np.void], stream: list[Weight]) -> int:
    return -(-max(weight.n_out for weight in stream) // ROWS) * _stride(records, stream)


def _stream_name(stream: list[Weight]) -> str:
    return "+".join(weight.name for weight in stream)


def _streams(program: Program, matrices: Container[Weight]) -> Iterator[list[Weight]]:
    """The matrices in the order in which a step reads them; gate and up, whose rows take turns, as
    one stream of memory, since a processor does not fetch ahead of two as well as of one."""
    seen: set[Weight] = set()
    for op in program.ops:
        if op.kind not in MULTIPLIES:
            continue
        wanted = [w for w in dict.fromkeys(op.weights) if w and w in matrices and w not in seen]
        seen.update(wanted)
        if op.kind == "norm_gate_up" and len(wanted) == 2:
            yield wanted
        else:
            yield from ([w] for w in wanted)


class PagePool:
    """Pages in slabs that are added as sequences grow."""

    readable = True

    def __init__(self, config: Config, kv_type: str):
        try:
            self.native = _cpu.PagePool(
                config.n_layers, config.n_kv_heads, config.head_dim, _cpu.kv_types[kv_type]
            )
        except MemoryError as error:
            raise DeviceError(str(error)) from None
        self.page_bytes: int = self.native.page_bytes
        self._shape = (config.n_kv_heads, config.head_dim)

    def grow(self, n_pages: int) -> None:
        if not self.native.grow(n_pages):
            raise DeviceError(
                f"no memory for a KV cache of {n_pages} pages "
                f"({n_pages * self.page_bytes / 2**20:.0f} MiB); use a smaller n_ctx or "
                "kv_type='f16'"
            )

    def read(
        self, layer: int, page: int, first: int = 0, end: int = PAGE_TOKENS
    ) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        keys, values = np.empty((2, end - first, *self._shape), np.float32)
        self.native.read(page, layer, first, end, keys.ctypes.data, values.ctypes.data)
        return keys, values


class LoadedProgram:
    """A Program whose records, arena and scratch memory are on the native side."""

    def __init__(self, device: Device, program: Program):
        self.program = program  # keeps the weights' memory alive
        self._device = device  # and that of the packed ones
        flat = tables(program)
        try:
            device.pack(program, flat)
        except MemoryError as error:
            raise DeviceError(f"no memory for the weights: {error}") from None
        self.n_vocab = program.ops[-1].outputs[0].width
        try:
            self._native = _cpu.Program(
                device.native,
                flat.ops.ctypes.data,
                len(flat.ops),
                flat.values.ctypes.data,
                len(flat.values),
                flat.weights.ctypes.data,
                len(flat.weights),
                program.max_tokens,
                program.max_logits,
                program.arena_bytes,
            )
        except MemoryError as error:
            raise DeviceError(f"no memory for activations: {error}") from None
        self._arena = Arena(self._native, program)
        self._logits: np.ndarray | None = None

    def run(self, pool: Any, step: Step) -> np.ndarray:
        import numpy as np

        logits = np.empty((len(step.logit_rows), self.n_vocab), np.float32)
        self._run(pool, step, logits.ctypes.data)
        return logits

    def run_top(self, pool: Any, step: Step, k: int) -> list[Top]:
        n_rows = len(step.logit_rows)
        logits = self._room_for(n_rows)
        self._run(pool, step, logits)
        return _cpu.top(logits, n_rows, self.n_vocab, k)

    def _room_for(self, n_rows: int) -> int:
        """Address of memory for the logits that only run_top sees, kept from step to step."""
        import numpy as np

        if self._logits is None or len(self._logits) < n_rows:
            self._logits = np.empty((n_rows, self.n_vocab), np.float32)
            self._logits_address = self._logits.ctypes.data
        return self._logits_address

    def _run(self, pool: Any, step: Step, logits: int) -> None:
        status = _cpu.run_step(self._native, pool.native, step, logits)
        if status == -1:
            raise CancelledError("the step was cancelled")
        if status:
            raise DeviceError(_cpu.refusals[status])

    def read(self, value: Value, n_rows: int) -> np.ndarray:
        return self._arena.read(value, n_rows)
