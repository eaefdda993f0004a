"""argmax of rows of logits."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, STRUCTS, struct
from kernels import assert_same_bits, needs_softmetal, run

pytestmark = needs_softmetal


def argmax(logits: np.ndarray, checked: bool = False) -> np.ndarray:
    rows, n_vocab = logits.shape
    result = np.zeros(rows, STRUCTS["top_entry"])
    args = struct("top_args", n_vocab=n_vocab, k=1)
    run("argmax", "argmax", args, [logits, result], (rows,), CONST["TOP_THREADS"], checked=checked)
    assert_same_bits(result["logit"], logits[np.arange(rows), result["id"]])
    return result["id"]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("n_vocab", [1, 31, 33, 257, 1025, 5000])
def test_argmax(n_vocab: int, checked: bool) -> None:
    logits = np.random.default_rng(n_vocab).standard_normal((3, n_vocab)).astype(np.float32)
    logits[1] = np.round(logits[1])  # many ties
    logits[2] = -np.abs(logits[2])
    np.testing.assert_array_equal(argmax(logits, checked), logits.argmax(axis=1))


def test_the_first_of_many_alike_is_found() -> None:
    assert argmax(np.full((1, 3000), -1.5, np.float32)) == [0]


def test_the_last_of_many_is_found() -> None:
    logits = np.zeros((1, 3000), np.float32)
    logits[0, -1] = 1e-30
    assert argmax(logits) == [2999]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([-0.0, 0.0], 0),  # equal
        ([0.0, -0.0], 0),
        ([-np.inf, -np.inf], 0),
        ([-np.inf, -3e38], 1),
        ([1.0, np.nan, np.inf], 1),  # the first that is no number comes first
        ([1.0, np.inf, np.nan], 1),
        ([3e38, -np.nan], 1),
    ],
)
def test_special_values(row: list[float], wanted: int) -> None:
    assert argmax(np.float32([row])) == [wanted]
