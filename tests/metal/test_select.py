"""select copies the rows of the tokens whose logits are wanted."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import Step, assert_same_bits, needs_softmetal, run

pytestmark = needs_softmetal


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("width", [1, 33, 257])
@pytest.mark.parametrize("rows", [[0], [6, 0, 3, 3]])
def test_select(rows: list[int], width: int, checked: bool) -> None:
    x = np.random.default_rng(2).standard_normal((7, width)).astype(np.float32)
    y = np.full((len(rows), width), np.nan, np.float32)
    threads = CONST["ELEMENT_THREADS"]
    step = Step(positions=range(7), logit_rows=rows)
    grid = (-(-width // threads), len(rows))
    args = struct("element_args", width=width, rows=CONST["ROWS_OF_LOGITS"])
    run("select", "select", args, [x, y], grid, threads, step=step, checked=checked)
    assert_same_bits(y, x[rows])
