"""silu, gelu, sigmoid, tanh, relu and scale on the CPU device.

Bounds, in roundings of 2^-24. exp is good to 2 units in the last place, which are 4 roundings, and
an addition and a division follow: 6 for sigmoid and silu. What goes into gelu's exp is a product of
three rounded factors, and e^z moves by as much as z does: 4 |z| more. tanh: 8, as vector.h derives.
Below e^-88 results may be zero: they are smaller than 1e-35 then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from harness import (
    ISAS,
    ULP,
    Feed,
    Runner,
    assert_same_bits,
    assert_within,
    check_everywhere,
    cpu_device,
    reference_device,
)

from smelt.graph.ops import Op

N = 13
SIZES = (1, 15, 16, 17, 31, 33, 257)  # elements a row
FACTOR = np.float32(-0.3)
Function = Callable[[np.ndarray], np.ndarray]


def gelu_argument(x: np.ndarray) -> np.ndarray:
    """2 y where gelu is x (1 + tanh y) / 2."""
    y: np.ndarray = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return y


EXACT: dict[str, Function] = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / (1 + np.exp(-gelu_argument(x))),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0),
    "scale": lambda x: x * np.float64(FACTOR),
}
ROUNDINGS: dict[str, Function] = {
    "silu": lambda x: np.full_like(x, 6),
    "gelu": lambda x: 6 + 4 * np.abs(gelu_argument(x)),
    "sigmoid": lambda x: np.full_like(x, 6),
    "tanh": lambda x: np.full_like(x, 8),
    "relu": np.zeros_like,
    "scale": np.ones_like,
}
SATURATING = ("silu", "gelu", "sigmoid")  # those that may reach zero before float32 does


def record(kind: str, x: np.ndarray) -> list[Op]:
    feed = Feed()
    rows = feed.rows("x", x)
    if kind == "scale":
        feed.scale("y", rows, float(FACTOR))
    else:
        getattr(feed, kind)("y", rows)
    return feed.ops


def check_values(kind: str, x: np.ndarray, y: np.ndarray) -> None:
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        exact, roundings = EXACT[kind](wide), ROUNDINGS[kind](wide)
        bound = np.where(exact == 0, 0, roundings * ULP * np.abs(exact)) + 2.0**-149
    assert_within(y, exact, bound + (1e-35 if kind in SATURATING else 0), kind)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("kind", EXACT)
def test_any_row(kind: str, width: int) -> None:
    rng = np.random.default_rng(width)
    x = rng.standard_normal((N, width)) * 2.0 ** rng.integers(-8, 7, (N, width))
    x = x.astype(np.float32)
    y = check_everywhere(lambda: record(kind, x), N, sizes=(1, 2, 7))
    check_values(kind, x, y)


@pytest.mark.parametrize("kind", EXACT)
def test_every_size_of_number(kind: str) -> None:
    """From the smallest denormal to the largest float, of both signs, some of each exponent."""
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(-149, 128), 40)
    x = np.ldexp(rng.uniform(1, 2, exponents.size), exponents).astype(np.float32)
    x = np.concatenate([x, -x]).reshape(20, -1)
    y = check_everywhere(lambda: record(kind, x), 20, threads=(2,))
    check_values(kind, x, y)


@pytest.mark.parametrize("kind", ["silu", "gelu", "sigmoid", "tanh"])
def test_where_a_power_of_two_takes_over(kind: str) -> None:
    """x = n ln 2 + r: the seams between neighbouring n, and what lies around them."""
    seams = (np.arange(-130, 131) + 0.5) * np.log(2) / (2 if kind == "tanh" else 1)
    near = seams[:, None] * (1 + np.linspace(-4, 4, 33) * 2.0**-23)
    x = near.astype(np.float32).reshape(9, -1)
    check_values(kind, x, check_everywhere(lambda: record(kind, x), 9, threads=(2,)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", EXACT)
def test_special_values(kind: str, isa: str) -> None:
    """NaN stays NaN in its place alone. Infinities: the limit, where there is one that no formula
    takes from infinity times zero; x / (1 + e^-x) makes NaN of the lower one."""
    largest = np.finfo(np.float32).max
    x = np.array([0.0, np.nan, np.inf, -np.inf, largest, -largest, -0.0, 1.0], np.float32)
    wanted = {
        "silu": [0, np.nan, np.inf, np.nan, largest, 0, 0],
        "gelu": [0, np.nan, np.inf, np.nan, largest, 0, 0],
        "sigmoid": [0.5, np.nan, 1, 0, 1, 0, 0.5],
        "tanh": [0, np.nan, 1, -1, 1, -1, 0],
        "relu": [0, np.nan, np.inf, 0, largest, 0, 0],
        "scale": [0, np.nan, -np.inf, np.inf, largest * FACTOR, -largest * FACTOR, 0],
    }[kind]
    rows = np.stack([x, np.roll(x, 3), np.ones_like(x)])
    y = Runner(cpu_device(isa), record(kind, rows), 3)(3)
    np.testing.assert_array_equal(y[0, :-1], np.array(wanted, np.float32))
    assert_same_bits(np.roll(y[0], 3), y[1])
    assert_same_bits(y[2], np.broadcast_to(y[0, -1], x.shape))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            Runner(reference_device(), record(kind, rows), 3)(3), y, rtol=1e-6, atol=1e-35
        )


@pytest.mark.parametrize("kind", EXACT)
def test_reference_device_agrees(kind: str) -> None:
    """The oracle itself, beside formulas written here a second time; gelu's by its definition,
    which cancels to one part in 2^52 of x."""
    x = np.random.default_rng(3).standard_normal((5, 31)).astype(np.float32) * 4
    wide = x.astype(np.float64)
    exact = EXACT[kind](wide)
    if kind == "gelu":
        exact = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    y = Runner(reference_device(), record(kind, x), 5)(5)
    np.testing.assert_allclose(y, exact, rtol=1e-13, atol=1e-14 if kind == "gelu" else 0)
