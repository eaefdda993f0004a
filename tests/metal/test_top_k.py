"""top_k of rows of logits: exactly what a stable sort gives."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, STRUCTS, struct
from kernels import assert_same_bits, needs_softmetal, run

from largest_logits import SIZES, of_all_sizes, tied

pytestmark = needs_softmetal


def top_k(logits: np.ndarray, k: int, checked: bool = False) -> np.ndarray:
    rows, n_vocab = logits.shape
    result = np.zeros((rows, k), STRUCTS["top_entry"])
    args = struct("top_args", n_vocab=n_vocab, k=k)
    run("top_k", "top_k", args, [logits, result], (rows,), CONST["TOP_THREADS"], checked=checked)
    assert_same_bits(result["logit"], np.take_along_axis(logits, result["id"], axis=1))
    return result["id"]


def check(logits: np.ndarray, k: int, checked: bool = False) -> None:
    """Largest first, of equal ones (-0 and 0 are) the lowest id."""
    wanted = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k(logits, k, checked), wanted)


@pytest.mark.parametrize(("n_vocab", "k"), SIZES)
def test_top_k(n_vocab: int, k: int) -> None:
    rng = np.random.default_rng(n_vocab + k)
    check((5 * rng.standard_normal((3, n_vocab))).astype(np.float32), k)


@pytest.mark.parametrize(("n_vocab", "k"), SIZES)
def test_ties(n_vocab: int, k: int) -> None:
    check(tied(n_vocab), k)


def test_numbers_of_all_sizes() -> None:
    logits = of_all_sizes()
    for k in (300, 301, 433, 555, 777):  # odd: between two that differ in the last bit
        check(logits, k)


def test_more_than_there_are() -> None:
    logits = np.float32([[2, -np.inf, 3], [5, 5, 4]])
    result = np.zeros((2, 6), STRUCTS["top_entry"])
    args = struct("top_args", n_vocab=3, k=6)
    run("top_k", "top_k", args, [logits, result], (2,), CONST["TOP_THREADS"])
    assert result["id"].tolist() == [[2, 0, 1, -1, -1, -1], [0, 1, 2, -1, -1, -1]]
    assert (result["logit"][:, 3:] == -np.inf).all()


@pytest.mark.parametrize("special", [np.nan, -np.nan, np.inf])
def test_what_is_no_number_comes_first(special: float) -> None:
    logits = np.random.default_rng(7).standard_normal((1, 500)).astype(np.float32)
    logits[0, [77, 300]] = special, np.inf
    assert top_k(logits, 3)[0, 0] == 77


@pytest.mark.parametrize(("n_vocab", "k"), [(31, 5), (1500, 40)])
def test_checked(n_vocab: int, k: int) -> None:
    logits = np.round(np.random.default_rng(8).standard_normal((2, n_vocab)), 1).astype(np.float32)
    check(logits, k, checked=True)
