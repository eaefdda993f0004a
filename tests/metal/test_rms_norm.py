"""rms_norm against float64."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import ULP, Step, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
EPS = 1e-5


def rms_norm(
    x: np.ndarray, gain: np.ndarray, selected: list[int] | None = None, checked: bool = False
) -> np.ndarray:
    rows = len(x) if selected is None else len(selected)
    y = np.full((rows, x.shape[1]), np.nan, np.float32)
    step = Step(positions=range(len(x)), logit_rows=selected or [])
    args = struct("norm_args", width=x.shape[1], eps=EPS)
    constants = {"SELECTED": int(selected is not None)}
    run("rms_norm", "rms_norm", args, [x, gain, y], (rows,), CONST["NORM_THREADS"], step=step,
        constants=constants, checked=checked)  # fmt: skip
    return y


def reference(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    y: np.ndarray = x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * gain
    return y


def relative_bound(width: int) -> float:
    """The sum of squares takes width / 256 products and additions in a thread, 5 + 5 additions in
    simdgroups and between them; half of its error reaches the root. Then come a division by the
    width, eps, the root, its inverse, and two products."""
    return (0.5 * (-(-width // 256) + 10 + 3) + 4) * ULP


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("width", [1, 31, 33, 257, 1100])
def test_rms_norm(width: int, size: float) -> None:
    rng = np.random.default_rng(width)
    x = (size * rng.standard_normal((3, width))).astype(np.float32)
    gain = rng.standard_normal(width).astype(np.float32)
    wanted = reference(x, gain)
    assert_within(rms_norm(x, gain), wanted, relative_bound(width) * np.abs(wanted))


@pytest.mark.parametrize("checked", [False, True])
def test_selected_rows(checked: bool) -> None:
    x = np.random.default_rng(3).standard_normal((5, 70)).astype(np.float32)
    rows = [4, 1, 1]
    wanted = reference(x, np.ones(70))[rows]
    got = rms_norm(x, np.ones(70, np.float32), rows, checked)
    assert_within(got, wanted, relative_bound(70) * np.abs(wanted))
