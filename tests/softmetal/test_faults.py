"""Faults that the processor or the clock find, and the process after them."""

import ctypes
import faulthandler
import os
import signal
from pathlib import Path

import pytest
from planted import FAST, assert_at, both_modes, fault, needs_clang, run

from metal_device import need_metal_device
from smelt import Engine
from tiny_model import write_tiny_llama

pytestmark = needs_clang


def test_misaligned_pointers() -> None:
    body = """device const char *bytes = (device const char *)x;
y[t] = *(device const float *)(bytes + 2 * t);"""
    text = fault(body, threads=2)
    assert_at(text, 3, 1)
    assert "misaligned" in text


@both_modes
def test_endless_loop(checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTMETAL_TIMEOUT", "0.2")
    body = "y[t] = 1;\nif (t == 3)\nfor (volatile int i = 0; i < 2; i = 0) {}"
    text = fault(body, checked)
    assert_at(text, 4, 3)
    assert "longer than the time allowed" in text


def test_endless_loop_beside_the_metal_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its library has handlers of its own, which come after the tests' in this process."""
    need_metal_device()
    run("y[t] = 1;", FAST)
    with Engine(write_tiny_llama(tmp_path / "m.gguf", "q8_0"), device="metal") as engine:
        engine.generate([1, 5], 1)
    test_endless_loop(False, monkeypatch)


@both_modes
def test_stack_overflow(checked: bool) -> None:
    body = """float big[20000];
for (uint i = 0; i < 20000; i++) big[i] = x[i % 64] * t;
y[t] = big[uint(x[t]) * 300];"""
    text = fault(body, checked, threads=1)
    assert text.startswith("kernel k") and "stack overflow" in text


def test_the_process_stays_sane_after_faults() -> None:
    before = signal.getsignal(signal.SIGSEGV)
    for _ in range(3):
        fault("y[t + 1] = 1;", FAST)
        run("y[t] = 1;", FAST)
    assert signal.getsignal(signal.SIGSEGV) == before


def test_a_fault_outside_of_kernels_is_not_swallowed() -> None:
    """A crash of the host program has to end it as before."""
    pid = os.fork()
    if pid == 0:
        try:
            faulthandler.disable()
            run("y[t] = 1;", FAST)
            ctypes.string_at(8)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGSEGV
