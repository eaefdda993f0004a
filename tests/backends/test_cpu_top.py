"""The largest logits of a step on the CPU: exactly what a stable sort of all of them gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import assert_same_bits, cpu_device, make_step

from largest_logits import SIZES, of_all_sizes, tied
from smelt import _cpu
from smelt.backends.base import Step
from smelt.model import Model
from tiny_model import write_tiny_llama


def check(logits: np.ndarray, k: int) -> None:
    """Largest first, of equal ones (-0 and 0 are) the lowest id."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    found = _cpu.top(logits.ctypes.data, *logits.shape, k)
    assert [[id for id, _ in row] for row in found] == order.tolist()
    values = np.array([[logit for _, logit in row] for row in found], np.float32)
    assert_same_bits(values, np.take_along_axis(logits, order, axis=1))


@pytest.mark.parametrize(("n_vocab", "k"), SIZES)
def test_top(n_vocab: int, k: int) -> None:
    rng = np.random.default_rng(n_vocab + k)
    logits = (5 * rng.standard_normal((4, n_vocab))).astype(np.float32)
    logits[1].sort()
    logits[2] = np.sort(logits[2])[::-1]
    logits[3, rng.random(n_vocab) < 0.9] = -np.inf
    check(logits, k)


@pytest.mark.parametrize(("n_vocab", "k"), SIZES)
def test_ties(n_vocab: int, k: int) -> None:
    check(tied(n_vocab), k)
    check(np.full((1, n_vocab), -np.inf, np.float32), k)


def test_numbers_of_all_sizes() -> None:
    logits = of_all_sizes()
    for k in (1, 300, 777):
        check(logits, k)


@pytest.mark.parametrize("special", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 3])
def test_what_is_no_number_comes_first(special: float, k: int) -> None:
    logits = np.random.default_rng(7).standard_normal((1, 500)).astype(np.float32)
    logits[0, [77, 300]] = special, np.inf
    assert _cpu.top(logits.ctypes.data, 1, 500, k)[0][0][0] == 77
    logits[:] = special
    assert [id for id, _ in _cpu.top(logits.ctypes.data, 1, 500, k)[0]] == list(range(k))


@pytest.mark.parametrize(("n_vocab", "k"), [(5, 0), (5, -1), (5, 6), (2000, 1025)])
def test_a_number_that_cannot_be_is_refused(n_vocab: int, k: int) -> None:
    logits = np.zeros((1, n_vocab), np.float32)
    with pytest.raises(ValueError, match=f"the {k} largest of {n_vocab} logits"):
        _cpu.top(logits.ctypes.data, 1, n_vocab, k)


def test_of_a_step(tmp_path: Path) -> None:
    """One row, then more than before, then fewer."""
    model = Model(write_tiny_llama(tmp_path / "m.gguf", "q8_0"))
    device = cpu_device(threads=2)
    pool = device.create_pool(model.config, "f16")
    pool.grow(4)
    loaded = device.load(model.program(128, 8, 8))
    for rows in ([3], [0, 2, 3], [1]):
        step: Step = replace(make_step(4), logit_rows=rows)
        logits = loaded.run(pool, step)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :7]
        expected = np.take_along_axis(logits, order, axis=1)
        pairs = zip(order.tolist(), expected.tolist(), strict=True)
        assert loaded.run_top(pool, step, 7) == [list(zip(*row, strict=True)) for row in pairs]
