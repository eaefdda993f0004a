"""What this machine can do at most, measured: bytes read, and float32 and int16 arithmetic.

The loops are compiled like the kernels, once an instruction set (native/cpu/kernels/limits.h), and
run on the threads of a CPU device. Other work on the machine only ever lowers a sample, so that the
best of several is the limit; whoever measures something else takes samples in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from .backends.cpu import Device

__all__ = ["AHEAD", "Limits", "Probe", "best", "measure", "memory_to_read", "typical"]

LEAST_BYTES = 256 << 20
BYTES_A_THREAD = 16 << 20  # no processor has that much cache a core
AHEAD = (4096, 32768)  # bytes to prefetch: which is better differs from machine to machine
SECONDS = 0.005  # of arithmetic in one sample: a thousand times what waking a thread takes


@dataclass(frozen=True)
class Limits:
    """Rates a second, all threads together.

    read: bytes, from memory far larger than the caches. fma: float32 operations, in registers, and
    dot: int16 products and their int32 sums, as kernels for quantised weights have them; a
    multiplication and its addition are two.
    """

    read: float
    fma: float
    dot: float


class Probe:
    """Takes samples of the limits on a CPU device's own threads and instruction set."""

    def __init__(self, device: Device, memory: np.ndarray | None = None):
        """memory: what is read; several probes may share it. None makes enough of its own."""
        self._native = device.native
        self._memory = memory_to_read(device.threads) if memory is None else memory
        self._rounds = dict.fromkeys(("fma", "dot"), 1024)

    def sample(self) -> Limits:
        """One sample of each; some 50 milliseconds."""
        return Limits(
            read=max(self.read(ahead) for ahead in AHEAD),
            fma=self._arithmetic("fma", self._native.fma_rate),
            dot=self._arithmetic("dot", self._native.dot_rate),
        )

    def read(self, ahead: int) -> float:
        """Bytes a second, once through the memory, prefetching `ahead` bytes of what is read."""
        return self._native.read_rate(self._memory.ctypes.data, self._memory.nbytes, ahead)

    def _arithmetic(self, name: str, rate_of: Callable[[int], float]) -> float:
        """The rate over as many rounds as take long enough, found out at the first call."""
        while True:
            start = time.perf_counter()
            rate = rate_of(self._rounds[name])
            if time.perf_counter() - start >= SECONDS:
                return rate
            self._rounds[name] *= 2


def memory_to_read(threads: int) -> np.ndarray:
    """Enough of it that so many threads find nothing in a cache."""
    import numpy as np

    # written, or no memory would stand behind it
    return np.ones(max(LEAST_BYTES, BYTES_A_THREAD * threads), np.uint8)


def best(samples: Iterable[Limits]) -> Limits:
    """The largest of each rate."""
    return _of_each(samples, max)


def typical(samples: Iterable[Limits]) -> Limits:
    """The median of each rate."""
    import statistics

    return _of_each(samples, statistics.median)


def _of_each(samples: Iterable[Limits], choose: Callable[[list[float]], float]) -> Limits:
    kept = list(samples)
    return Limits(*(choose([getattr(s, name) for s in kept]) for name in ("read", "fma", "dot")))


def measure(threads: int | None = None, repeats: int = 10) -> Limits:
    """The limits of this machine with so many threads (None: one a core) and the instruction set
    that smelt uses; DeviceError where SMELT_ISA names one that is not here."""
    from .backends.cpu import Device

    probe = Probe(Device(threads))
    return best(probe.sample() for _ in range(repeats))
