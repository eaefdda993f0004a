"""The derivations of tolerance.py, each against arithmetic that is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smelt import _quant
from smelt.diff.measure import Distance
from smelt.diff.tolerance import float_floor, operand_error
from smelt.formats import FORMATS, encode_native
from smelt.trace import Run, RunInfo, TracedValue

QUANTISED = [name for name, fmt in FORMATS.items() if _quant.quantisable(fmt.index)]


def run_on(device: str, kv_type: str = "f32") -> Run:
    info = RunInfo("m", "", "llama", "", f"{device}, x", False, kv_type, 1, [1], [""], [0])
    return Run(info, [], {}, {})


def matmul(fmt: str) -> TracedValue:
    return TracedValue("y", "matmul", 0, (8,), inputs=("x",), weights=(("w", fmt),))


def quantised(x: np.ndarray, block: int, levels: int) -> np.ndarray:
    """Rounded to whole multiples of each block's largest element over the levels."""
    blocks = x.reshape(-1, block)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / levels
    return (np.rint(blocks / scale) * scale).reshape(x.shape)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("device", "levels"), [("cpu", 2047), ("llama.cpp", 127)])
@pytest.mark.parametrize("fmt", ["q8_0", "q4_k"])
def test_rounded_activations(fmt: str, device: str, levels: int, heavy: bool) -> None:
    """The formula with the crest is the error itself; the one without it is no smaller."""
    x = np.random.default_rng(5).standard_normal((64, 512)).astype(np.float32)
    if heavy:
        x **= 3
    d = Distance()
    d.add(0, quantised(x, FORMATS[fmt].block_weights, levels), x)
    against = run_on("reference")
    value = matmul(fmt)
    predicted = operand_error(value, value, run_on(device), against, d.crests)
    assert 0.5 < d.worst / predicted < 1.2
    assert operand_error(value, value, run_on(device), against) > predicted


@pytest.mark.parametrize("fmt", ["f32", "f16", "bf16", "q4_k"])
@pytest.mark.parametrize("device", ["metal", "reference"])
def test_devices_that_round_nothing(fmt: str, device: str) -> None:
    assert operand_error(matmul(fmt), matmul(fmt), run_on(device), run_on("reference")) == 0


def test_llama_cpp_rounds_activations_to_the_weights_halves() -> None:
    x = np.random.default_rng(6).standard_normal((8, 256)).astype(np.float32)
    error = np.linalg.norm(x.astype(np.float16) - x) / np.linalg.norm(x)
    value = matmul("f16")
    allowed = operand_error(value, value, run_on("llama.cpp"), run_on("cpu"))
    assert 0.25 * allowed < error < allowed


@pytest.mark.parametrize("fmt", QUANTISED)
def test_weights_of_another_format(fmt: str) -> None:
    """Gaussian weights, quantised by smelt itself, lie about as far from F32 as the formula says:
    never further, and no better than four times closer (five-bit formats with better scales)."""
    w = np.random.default_rng(7).standard_normal((64, 512)).astype(np.float32)
    decoded = FORMATS[fmt].decode(encode_native(FORMATS[fmt], w))
    error = float(np.linalg.norm(decoded - w) / np.linalg.norm(w))
    exact = run_on("reference")
    allowed = operand_error(matmul(fmt), matmul("f32"), exact, exact)
    assert error < allowed < 4 * error
    assert operand_error(matmul(fmt), matmul(fmt), exact, exact) == 0  # meant to be the same


@pytest.mark.parametrize(
    ("a", "b", "rounded"),
    [
        (("cpu", "f16"), ("cpu", "f32"), True),
        (("reference", "f16"), ("cpu", "f32"), False),  # the reference ignores it
        (("metal", "f16"), ("reference", "f32"), True),
    ],
)
def test_keys_and_values_in_halves(a: tuple[str, str], b: tuple[str, str], rounded: bool) -> None:
    scores = replace(matmul("f32"), op="attention_scores", weights=())
    error = operand_error(scores, scores, run_on(*a), run_on(*b))
    assert error == (2.0**-11 if rounded else 0)
    other = replace(scores, op="softmax")
    assert operand_error(other, other, run_on(*a), run_on(*b)) == 0


@pytest.mark.parametrize("n", [1, 33, 256, 4096])
def test_the_floor_holds_sums_in_the_worst_order(n: int) -> None:
    """Products added one by one in float32, against float64: the largest relative to the norm."""
    rng = np.random.default_rng(8)
    x, w = (rng.standard_normal((64, n)).astype(np.float32) for _ in range(2))
    sums = np.zeros(64, np.float32)
    for i in range(n):
        sums += x[:, i] * w[:, i]
    exact = (x.astype(np.float64) * w).sum(axis=1)
    error = np.linalg.norm(sums - exact) / np.linalg.norm(exact)
    assert error < float_floor(n) < 100 * max(error, 2.0**-24)
