"""add, mul, scale and the activations, element by element against float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import ULP, assert_same_bits, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
SHAPES = [(1, 1), (3, 31), (2, 33), (3, 257), (1, 700)]
SCALE = np.float32(1.7)


def apply(op: str, *inputs: np.ndarray, checked: bool = False) -> np.ndarray:
    rows, width = inputs[0].shape
    y = np.full((rows, width), np.nan, np.float32)
    threads = CONST["ELEMENT_THREADS"]
    args = struct("element_args", width=width, scale=SCALE)
    grid = (-(-width // threads), rows)
    run("elementwise", op, args, [*inputs, y], grid, threads, checked=checked)
    return y


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def inputs(shape: tuple[int, int], n: int) -> list[np.ndarray]:
    """Numbers of all sizes, with those at which an exponential overflows."""
    rng = np.random.default_rng(1)
    drawn = [(4 * rng.standard_normal(shape)).astype(np.float32) for _ in range(n)]
    extremes = np.float32([0, -0.0, 1e-30, 88, -89, 104, -104, 1e30, -1e30])
    k = min(len(extremes), drawn[0].size)
    drawn[0].reshape(-1)[:k] = extremes[:k]
    return drawn


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", ["add", "mul", "scale", "relu"])
def test_exact_ops_are_one_rounding(op: str, shape: tuple[int, int]) -> None:
    a, b = inputs(shape, 2)
    wanted = {"add": a + b, "mul": a * b, "scale": a * SCALE, "relu": np.maximum(a, 0)}[op]
    got = apply(op, a, b) if op in ("add", "mul") else apply(op, a)
    if op == "relu":  # of -0 either zero will do
        got, wanted = got + np.float32(0), wanted + np.float32(0)
    assert_same_bits(got, wanted, op)


Bound = Callable[[np.ndarray, np.ndarray], np.ndarray]
# exp and tanh are right to 4 and 5 units in the last place, 2 ULP each (MSL specification, section
# 8.4), and every other operation to one ULP. An exponential that underflows may become 0.
ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Bound]] = {
    "sigmoid": (sigmoid, lambda x, y: 10 * ULP * y + 1e-37),
    "silu": (lambda x: x * sigmoid(x), lambda x, y: 10 * ULP * np.abs(y) + 1e-37 * np.abs(x)),
    "tanh": (np.tanh, lambda x, y: 10 * ULP * np.abs(y)),
    # tanh's argument is off by 6 roundings, and so tanh by as many times what it can lose: 0.45 is
    # the largest value of z (1 - tanh(z)^2); 1 + tanh(z) is a difference where x < 0
    "gelu": (gelu, lambda x, y: (0.5 * (10 + 6 * 0.45 + 1) + 2) * ULP * np.abs(x)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", ACTIVATIONS)
def test_activations(op: str, shape: tuple[int, int]) -> None:
    (x,) = inputs(shape, 1)
    function, bound = ACTIVATIONS[op]
    with np.errstate(over="ignore"):
        wanted = function(x.astype(np.float64))
    assert_within(apply(op, x), wanted, bound(x.astype(np.float64), wanted), op)


@pytest.mark.parametrize("op", ["scale", "relu", *ACTIVATIONS])
def test_nan_stays_nan(op: str) -> None:
    assert np.isnan(apply(op, np.float32([[np.nan]]))).all()


@pytest.mark.parametrize("op", ["add", "gelu"])
def test_checked(op: str) -> None:
    a, b = inputs((2, 300), 2)
    plain, checked = (
        apply(op, *((a, b) if op == "add" else (a,)), checked=mode) for mode in (False, True)
    )
    assert_same_bits(checked, plain)
