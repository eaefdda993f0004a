"""The conversions of native/half.h, exhaustively where 16 bits allow it."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from smelt import _quant
from smelt.formats import FORMATS, decode_native

ALL_HALVES = np.arange(1 << 16, dtype=np.uint16)


def narrow(
    round_to: Callable[[int, int, int], None], values: NDArray[np.float32]
) -> NDArray[np.uint16]:
    values = np.ascontiguousarray(values, dtype=np.float32)
    halves = np.empty(values.size, dtype=np.uint16)
    round_to(values.ctypes.data, halves.ctypes.data, values.size)
    return halves


def widen(name: str) -> NDArray[np.float32]:
    return decode_native(FORMATS[name], ALL_HALVES.view(np.uint8))


def bf16_by_integers(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to nearest, ties to even, in 64-bit integers; not for NaN."""
    bits = values.view(np.uint32).astype(np.uint64)
    kept, dropped = bits >> 16, bits & 0xFFFF
    up = (dropped > 0x8000) | ((dropped == 0x8000) & (kept & 1 == 1))
    return (kept + up).astype(np.uint16)


def rounding_cases(finite: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every value, every midpoint of neighbours, and the floats on either side of each."""
    values = np.unique(finite)
    with np.errstate(over="ignore"):
        midpoints = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
        exact = np.concatenate([values, midpoints])
        cases = [exact, np.nextafter(exact, -np.inf), np.nextafter(exact, np.inf)]
    return np.concatenate(cases).astype(np.float32)


EXTREMES = [0.0, 3.4e38, np.inf, 1e-45, 65504, 65519.996, 65520, 65536]
EXTREMES += [2**-14, 6.1e-5, 2**-24, 2**-25, 2**-25 * (1 + 2**-23), 2**-26]


def floats(kind: str, name: str) -> NDArray[np.float32]:
    """Values to round to the format `name`, no NaN among them."""
    if kind == "neighbours":
        every = widen(name)
        return rounding_cases(every[np.isfinite(every)])
    if kind == "random":
        bits = np.random.default_rng(1).integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
        values = bits.view(np.float32)
        return values[~np.isnan(values)]
    return np.array([*EXTREMES, *(-x for x in EXTREMES)], dtype=np.float32)


every_kind = pytest.mark.parametrize("kind", ["neighbours", "random", "extremes"])


def test_every_half_is_widened_exactly() -> None:
    expected = ALL_HALVES.view(np.float16).astype(np.float32)
    numbers = ~np.isnan(expected)
    actual = widen("f16")
    np.testing.assert_array_equal(
        actual.view(np.uint32)[numbers], expected.view(np.uint32)[numbers]
    )
    assert np.isnan(actual[~numbers]).all()


def test_every_bfloat16_is_widened_exactly() -> None:
    expected = ALL_HALVES.astype(np.uint32) << 16
    np.testing.assert_array_equal(widen("bf16").view(np.uint32), expected)


@pytest.mark.parametrize(
    ("name", "round_to"), [("f16", _quant.round_f16), ("bf16", _quant.round_bf16)]
)
def test_widening_and_narrowing_give_the_same_half(
    name: str, round_to: Callable[[int, int, int], None]
) -> None:
    values = widen(name)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(narrow(round_to, values)[numbers], ALL_HALVES[numbers])


@every_kind
def test_round_f16_as_numpy_does(kind: str) -> None:
    values = floats(kind, "f16")
    with np.errstate(over="ignore", under="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(narrow(_quant.round_f16, values), expected)


@every_kind
def test_round_bf16_to_nearest_even(kind: str) -> None:
    values = floats(kind, "bf16")
    np.testing.assert_array_equal(narrow(_quant.round_bf16, values), bf16_by_integers(values))


@pytest.mark.parametrize(
    ("round_to", "quiet"), [(_quant.round_f16, 0x7E00), (_quant.round_bf16, 0x7FC0)]
)
def test_nan_stays_a_quiet_nan_of_its_sign(
    round_to: Callable[[int, int, int], None], quiet: int
) -> None:
    bits = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], dtype=np.uint32)
    halves = narrow(round_to, bits.view(np.float32))
    assert (halves & quiet == quiet).all()
    np.testing.assert_array_equal(halves >> 15, bits >> 31)
