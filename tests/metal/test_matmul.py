"""matmul: every format, beside float64; what is fused with it; edges of the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import needs_softmetal
from matrices import GROUPS, OUTS, Fused, Product, check, matrices, rows

pytestmark = needs_softmetal

N_ROWS = (33, 9)  # a tile and one row; a part of a tile


def roundings(n_in: int) -> int:
    """That a term meets: decoding, its product, and every later product of the sum, one by one."""
    return 2 + n_in


@pytest.mark.parametrize("group", GROUPS)
def test_every_format_and_size(group: str) -> None:
    formats, widths = GROUPS[group]
    for n_in in widths:
        for outs, n in zip(OUTS, N_ROWS, strict=True):
            product = Product(rows(n, n_in), matrices(formats, outs, n_in))
            check(product.matmul(), product.reference(roundings(n_in)), (n_in, outs, n))


def test_a_row_does_not_depend_on_the_others() -> None:
    x, weights = rows(65, 256), matrices(("q4_k", "f32"), (65, 7), 256)
    wanted = Product(x, weights).matmul()
    for first, n in ((0, 9), (20, 31), (31, 33), (64, 1)):
        got = Product(x[first : first + n], weights).matmul()
        for y, whole in zip(got, wanted, strict=True):
            assert np.array_equal(y.view(np.int32), whole[first : first + n].view(np.int32))


FUSED = {
    "three biases": Fused(("q6_k", "q4_k", "q8_0"), bias=True),
    "residual": Fused(("q4_k",), residual=True),
    "bias and residual": Fused(("f16",), residual=True, bias=True),
    "SiLU gate": Fused(("q4_k", "q4_k"), gate="GATE_SILU"),
    "GELU gate of two formats, with biases": Fused(("iq4_xs", "q6_k"), bias=True, gate="GATE_GELU"),
    "SiLU gate of floats": Fused(("bf16", "f32"), gate="GATE_SILU"),
    "rows of logits": Fused(("q8_0",), logit_rows=range(31)),
}


@pytest.mark.parametrize("case", FUSED)
@pytest.mark.parametrize(("n", "n_out"), [(31, 33), (65, 1)])
def test_what_is_fused_equals_the_parts_in_float64(case: str, n: int, n_out: int) -> None:
    product = FUSED[case].product(n, n_out, 256)
    check(product.matmul(), product.reference(roundings(256)), (n, n_out))


@pytest.mark.parametrize("case", ["three biases", "residual", "SiLU gate of floats"])
def test_no_access_is_out_of_bounds_unwritten_or_a_race(case: str) -> None:
    product = FUSED[case].product(33, 9, 256)
    check(product.matmul(checked=True), product.reference(roundings(256)), case)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    x, weights = rows(40, 256), matrices(["q4_k"], [9], 256)
    clean = Product(x, weights).matmul()[0]
    x[33, 200] = np.inf
    dirty = Product(x, weights).matmul()[0]
    assert not np.isfinite(dirty[33]).any()
    assert np.array_equal(np.delete(dirty, 33, 0), np.delete(clean, 33, 0))
