"""The machine's own limits, measured: read bandwidth and float32 arithmetic."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np


@cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("limits.c")
    target = Path(tempfile.mkdtemp()) / "limits.so"
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-pthread"]
    subprocess.run(["cc", *flags, str(source), "-o", str(target)], check=True)
    library = ctypes.CDLL(str(target))
    library.read_rate.restype = library.fma_rate.restype = ctypes.c_double
    library.read_rate.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.fma_rate.argtypes = [ctypes.c_int]
    return library


def read_bandwidth(threads: int, n_bytes: int = 1 << 30) -> float:
    """GB/s that `threads` threads read together from memory far larger than the caches."""
    memory = np.ones(n_bytes, np.uint8)
    return float(_library().read_rate(memory.ctypes.data, n_bytes, threads))


def fma_peak(threads: int) -> float:
    """float32 GFLOP/s of `threads` threads, in registers."""
    return float(_library().fma_rate(threads))


if __name__ == "__main__":
    for count in (1, 2):
        print(f"{count} threads: {read_bandwidth(count):.1f} GB/s, {fma_peak(count):.0f} GFLOP/s")
