"""rope_table: angles that stay right at every position."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import ULP, Step, assert_within, needs_softmetal, run

pytestmark = needs_softmetal
POSITIONS = [0, 1, 31, 32, 4095, 131_071, 10_000_019, 2**24 - 1, 2**24]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.138])
@pytest.mark.parametrize("n_pairs", [1, 31, 33, 64])
def test_angles(n_pairs: int, scale: float, checked: bool) -> None:
    """Of the angle's turns, two roundings of numbers up to 1/2 and the 48 bits of hi + lo; 2 pi
    times that reaches cos and sin, right to 4 units in the last place, and their scaling."""
    inv_freq = 10000.0 ** (-np.arange(n_pairs) / n_pairs)
    turns = inv_freq / (2 * np.pi)
    hi = turns.astype(np.float32)
    split = np.stack([hi, (turns - hi).astype(np.float32)], axis=-1)
    table = np.full((len(POSITIONS), n_pairs, 2), np.nan, np.float32)
    args = struct("rope_table_args", n_pairs=n_pairs, scale=scale)
    grid = (-(-n_pairs // 32), len(POSITIONS))
    run("rope_table", "rope_table", args, [split, table], grid, CONST["SIMD_WIDTH"],
        step=Step(positions=POSITIONS), checked=checked)  # fmt: skip

    positions = np.array(POSITIONS, np.longdouble)[:, None]
    turned = positions * (inv_freq.astype(np.longdouble) / (2 * np.longdouble(np.pi)))
    angle = (2 * np.pi * (turned - np.rint(turned))).astype(np.float64)
    wanted = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * np.float64(np.float32(scale))
    lost = 2 * ULP / 2 + np.array(POSITIONS)[:, None] * turns * 2.0**-48
    assert_within(table, wanted, scale * (2 * np.pi * lost[..., None] + 9 * ULP))
