"""layer_norm against float64."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import ULP, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
EPS = 1e-5


def layer_norm(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray | None, checked: bool = False
) -> np.ndarray:
    y = np.full_like(x, np.nan)
    args = struct("norm_args", width=x.shape[1], eps=EPS)
    constants = {"HAS_BIAS_0": int(bias is not None)}
    run("layer_norm", "layer_norm", args, [x, gain, bias, y], (len(x),), CONST["NORM_THREADS"],
        constants=constants, checked=checked)  # fmt: skip
    return y


@pytest.mark.parametrize("mean", [0.0, 300.0])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("width", [1, 31, 33, 257, 1100])
def test_layer_norm(width: int, has_bias: bool, mean: float) -> None:
    """The mean is off by n = width / 256 + 11 roundings of numbers as large as |x|, and with it
    every x - mean. As a part of the deviation that reaches y as it is, and once more through the
    variance; the rest is as in rms_norm."""
    rng = np.random.default_rng(width)
    x = (mean + rng.standard_normal((3, width))).astype(np.float32)
    gain = rng.standard_normal(width).astype(np.float32)
    bias = rng.standard_normal(width).astype(np.float32) if has_bias else None
    apart = x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True)
    deviation = np.sqrt((apart**2).mean(-1, keepdims=True) + EPS)
    normal = apart / deviation * gain
    wanted = normal + (0 if bias is None else bias)
    n = -(-width // 256) + 11
    lost = (n + 1) * ULP * np.abs(x).max() / deviation
    bound = np.abs(gain) * lost + np.abs(normal) * (lost + (n + 8) * ULP) + ULP * np.abs(wanted)
    assert_within(layer_norm(x, gain, bias), wanted, bound)


def test_checked() -> None:
    x = np.random.default_rng(4).standard_normal((2, 300)).astype(np.float32)
    ones = np.ones(300, np.float32)
    np.testing.assert_array_equal(layer_norm(x, ones, ones, True), layer_norm(x, ones, ones))
