"""The Metal device: the kernels of metal/ on an Apple GPU, encoded by native/metal."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from mmap import PAGESIZE
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from ..errors import CancelledError, DeviceError
from ..graph.program import Program, Tables, tables
from .arena import Arena
from .base import PAGE_TOKENS, Step

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np

    from .. import _metal
    from ..config import Config
    from ..graph.ops import Value, Weight
    from .base import Top

    Place: TypeAlias = tuple[_metal.Buffer, int]  # a buffer and an offset in bytes

__all__ = ["Device", "why_unavailable"]

logger = logging.getLogger("smelt")
Result = TypeVar("Result")

CAPTURED_STEPS = 2  # of SMELT_METAL_CAPTURE: the prompt's last chunk, and one of decoding


def why_unavailable() -> str:
    """Why this installation has no Metal device; "" if it has one."""
    if find_spec("smelt._metal"):
        return ""
    if sys.platform != "darwin":
        return f"Metal is Apple's; this is {platform.system()}"
    return "smelt was built without it: reinstall smelt from source with Xcode's command line tools"


def _native(call: Callable[[], Result]) -> Result:
    """What a call of the bindings gives; DeviceError for what it raises."""
    from .. import _metal

    try:
        return call()
    except _metal.MetalError as error:
        raise DeviceError(f"metal: {error}") from None


def _kernels() -> tuple[str | None, str | None]:
    """The path of the compiled kernels, or else the text of their source."""
    package = resources.files("smelt")
    compiled = package / "smelt.metallib"
    if compiled.is_file() and os.environ.get("SMELT_METAL_SOURCE", "") in ("", "0"):
        return str(compiled), None
    return None, (package / "smelt.metal").read_text("utf-8")


class Device:
    """The default GPU. Weights stay where their file is mapped."""

    name = "metal"

    def __init__(self, threads: int | None = None):
        """threads: ignored; the GPU decides."""
        if reason := why_unavailable():
            raise DeviceError(f"device 'metal' is not available: {reason}")
        from .. import _metal

        assert _metal.page_tokens == PAGE_TOKENS
        self.native = _native(lambda: _metal.Device(*_kernels()))
        self.most_top = _metal.top_max
        info = self.native.info()
        self.max_buffer_bytes = info["max_buffer_bytes"]
        self.working_set_bytes = info["working_set_bytes"]
        origin = ", kernels compiled from their source" if info["from_source"] else ""
        self.description = f"metal, {info['name']}{origin}"
        self.cancelled = False
        self.capture_path = os.environ.get("SMELT_METAL_CAPTURE", "")
        self._places: WeakKeyDictionary[Weight, Place] = WeakKeyDictionary()

    def load(self, program: Program) -> LoadedProgram:
        return LoadedProgram(self, program)

    def create_pool(self, config: Config, kv_type: str) -> PagePool:
        if kv_type not in ("f16", "f32"):
            raise DeviceError(f"kv_type must be f16 or f32: {kv_type!r}")
        return PagePool(self, config, kv_type)

    def cancel(self, wanted: bool = True) -> None:
        self.cancelled = wanted

    def check_cancelled(self) -> None:
        if self.cancelled:
            raise CancelledError("the step was cancelled")

    def place(self, weights: Iterable[Weight]) -> list[Place]:
        """Where the GPU finds each weight. One is placed once, however many programs use it."""
        weights = list(weights)
        new = [w for w in dict.fromkeys(weights) if w not in self._places]
        mapped = [w for w in new if w.mapping]
        for weight in new:
            if not weight.mapping:
                self._places[weight] = self._copied(weight), 0
        for mapping in dict.fromkeys(w.mapping for w in mapped):
            self._map(mapping, [w for w in mapped if w.mapping == mapping])
        needed = self.native.info()["allocated_bytes"]
        if mapped and needed > self.working_set_bytes:
            logger.warning(
                "the weights need %.1f GiB, and this GPU works well with %.1f GiB at most: expect "
                "it to be slow; a smaller quantisation would fit",
                needed / 2**30,
                self.working_set_bytes / 2**30,
            )
        return [self._places[weight] for weight in weights]

    def _copied(self, weight: Weight) -> _metal.Buffer:
        """A weight in memory of its own. Frequencies in float64 become turns a position, each the
        sum of two floats: the GPU has no doubles (see metal/rope_table.metal)."""
        import numpy as np

        data = weight.data
        if weight.format == "f64":
            turns = data / (2 * np.pi)
            high = turns.astype(np.float32)
            data = np.stack([high, (turns - high).astype(np.float32)], axis=1)
        return self._buffer(data.ctypes.data, data.nbytes, copy=True)

    def _buffer(self, address: int, length: int, copy: bool) -> _metal.Buffer:
        from .. import _metal

        return _native(lambda: _metal.Buffer(self.native, address, length, copy))

    def _map(self, mapping: tuple[int, int] | None, weights: list[Weight]) -> None:
        """Buffers over the pages of a file, as few as the GPU's largest buffer allows."""
        for group, first, end in _views(weights, self.max_buffer_bytes):
            try:
                buffer = self._buffer(first, end - first, copy=False)
            except DeviceError as error:
                logger.warning("%s: the weights are copied instead", str(error))
                buffer = self._buffer(first, end - first, copy=True)
            for weight in group:
                self._places[weight] = buffer, weight.data.ctypes.data - first


def _views(weights: list[Weight], most: int) -> Iterable[tuple[list[Weight], int, int]]:
    """Neighbouring weights and the whole pages [first, end) around them, `most` bytes at most."""
    group: list[Weight] = []
    first = end = 0
    for weight in sorted(weights, key=lambda w: int(w.data.ctypes.data)):
        address = weight.data.ctypes.data
        page = address // PAGESIZE * PAGESIZE
        page_end = -(-(address + weight.nbytes) // PAGESIZE) * PAGESIZE
        if page_end - page > most:
            raise DeviceError(
                f"metal: tensor {weight.name} takes {weight.nbytes / 2**20:.1f} MiB; the largest "
                f"buffer of this GPU is {most / 2**20:.1f} MiB: use a smaller quantisation, or "
                "device='cpu'"
            )
        if group and page_end - first > most:
            yield group, first, end
            group = []
        if not group:
            first = page
        group.append(weight)
        end = page_end
    if group:
        yield group, first, end


class PagePool:
    """Pages in slabs that are added as sequences grow, in memory of the GPU's own."""

    readable = False

    def __init__(self, device: Device, config: Config, kv_type: str):
        from .. import _metal

        self.native = _native(
            lambda: _metal.PagePool(
                device.native, config.n_layers, config.n_kv_heads, config.head_dim, kv_type == "f16"
            )
        )
        self.page_bytes: int = self.native.page_bytes

    def grow(self, n_pages: int) -> None:
        try:
            _native(lambda: self.native.grow(n_pages))
        except DeviceError as error:
            raise DeviceError(
                f"{error}; {n_pages} pages ({n_pages * self.page_bytes / 2**20:.0f} MiB) are "
                "wanted: use a smaller n_ctx or kv_type='f16'"
            ) from None

    def read(
        self, layer: int, page: int, first: int = 0, end: int = PAGE_TOKENS
    ) -> tuple[np.ndarray, np.ndarray]:
        raise DeviceError("metal: the pages of the KV cache are the GPU's and cannot be read")


class LoadedProgram:
    """A Program whose records, arena and scratch memory are the GPU's."""

    def __init__(self, device: Device, program: Program):
        self.program = program  # keeps the weights' memory alive
        self._device = device
        flat = tables(program)
        self._places = device.place(weight for weight, _ in flat.sources)
        self.n_vocab = program.ops[-1].outputs[0].width
        self._native = _native(lambda: self._create(flat))
        self._arena = Arena(self._native, program)
        self._steps = 0

    def _create(self, flat: Tables) -> _metal.Program:
        from .. import _metal

        return _metal.Program(
            self._device.native,
            flat.ops.ctypes.data,
            len(flat.ops),
            flat.values.ctypes.data,
            len(flat.values),
            flat.weights.ctypes.data,
            len(flat.weights),
            self._places,
            self.program.max_tokens,
            self.program.max_logits,
            self.program.arena_bytes,
        )

    def run(self, pool: Any, step: Step) -> np.ndarray:
        import numpy as np

        logits = np.empty((len(step.logit_rows), self.n_vocab), np.float32)
        self._run(pool, step, 0, logits)
        return logits

    def run_top(self, pool: Any, step: Step, k: int) -> list[Top]:
        import numpy as np

        top = np.empty((len(step.logit_rows), k), [("id", np.int32), ("logit", np.float32)])
        self._run(pool, step, k, top)
        rows: list[Top] = top.tolist()
        return rows

    def _run(self, pool: Any, step: Step, k: int, result: np.ndarray) -> None:
        from .. import _metal

        self._device.check_cancelled()
        with self._captured():
            status = _native(
                lambda: _metal.run_step(self._native, pool.native, step, k, result.ctypes.data)
            )
        if status:
            raise DeviceError(_metal.refusals[status])
        self._device.check_cancelled()

    def profile(self, pool: Any, step: Step) -> np.ndarray:
        """Seconds that the GPU needs for each op of the program, one by one: float64 [n_ops]."""
        import numpy as np

        from .. import _metal

        seconds = np.zeros(len(self.program.ops))
        status = _native(
            lambda: _metal.profile_step(self._native, pool.native, step, seconds.ctypes.data)
        )
        if status:
            raise DeviceError(_metal.refusals[status])
        return seconds

    def statistics(self) -> _metal.Statistics:
        """What the last step was: dispatches, barriers, and seconds of the host and of the GPU."""
        return self._native.statistics()

    @contextmanager
    def _captured(self) -> Iterator[None]:
        """A step, of which the first CAPTURED_STEPS go where SMELT_METAL_CAPTURE says."""
        device = self._device
        if not device.capture_path:
            yield
            return
        if self._steps == 0:
            _native(lambda: device.native.begin_capture(device.capture_path))
        try:
            yield
        finally:
            self._steps += 1
            if self._steps == CAPTURED_STEPS:
                device.native.end_capture()
                logger.warning(
                    "the GPU's first %d steps are in %s", self._steps, device.capture_path
                )
                device.capture_path = ""

    def read(self, value: Value, n_rows: int) -> np.ndarray:
        return self._arena.read(value, n_rows)
