"""Machine limits: what is measured, not how fast this machine is."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest

from smelt import _cpu, limits
from smelt.backends.cpu import Device
from smelt.limits import Limits, Probe, best

ISAS = _cpu.instruction_sets()


@pytest.fixture(autouse=True)
def _less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers do not matter here."""
    monkeypatch.setattr(limits, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "BYTES_A_THREAD", 1 << 18)


def native(isa: str, threads: int) -> _cpu.Device:
    return _cpu.Device(_cpu.known_instruction_sets().index(isa), threads)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_instruction_set_has_rates(isa: str, threads: int) -> None:
    device = native(isa, threads)
    memory = np.ones(1 << 20, np.uint8)
    rates = [
        device.read_rate(memory.ctypes.data, memory.nbytes, 4096),
        device.fma_rate(10_000),
        device.dot_rate(10_000),
    ]
    assert all(1e5 < rate < 1e16 for rate in rates), rates


def test_memory_of_any_size_is_read_to_its_end_and_no_further() -> None:
    """Sizes that are no whole number of units, and less than a page a thread."""
    device = native(ISAS[-1], 2)
    for n_bytes in (0, 1, 4095, 4096 * 3, (1 << 16) + 300):
        memory = np.ones(max(n_bytes, 1), np.uint8)
        assert device.read_rate(memory.ctypes.data, n_bytes, 32768) >= 0


def test_probe_and_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMELT_ISA", ISAS[-1])
    probe = Probe(Device(1))
    samples = [probe.sample() for _ in range(2)]
    assert all(rate > 0 for s in samples for rate in (s.read, s.fma, s.dot))
    assert best([Limits(1, 5, 3), Limits(2, 4, 3)]) == Limits(2, 5, 3)
    assert limits.measure(threads=1, repeats=1).read > 0


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not safe elsewhere")
def test_a_forked_child_has_no_threads_to_measure_with() -> None:
    device = native(ISAS[-1], 2)
    device.fma_rate(100)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(device.fma_rate(100)))
    child.start()
    child.join(20)
    assert child.exitcode == 0 and results.get() == 0.0
