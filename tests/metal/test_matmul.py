"""matmul: every format, beside float64; what is fused with it; edges of the tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import needs_softmetal
from matrices import GROUPS, OUTS, Matrix, Product, check, rows

pytestmark = needs_softmetal


def roundings(n_in: int) -> int:
    """That a term meets: decoding, its product, and every later product of the sum, one by one."""
    return 2 + n_in


@pytest.mark.parametrize("group", GROUPS)
def test_every_format_and_size(group: str) -> None:
    formats, widths = GROUPS[group]
    for n_in in widths:
        for outs, n in zip(OUTS, (33, 9)):
            matrices = [Matrix(f, m, n_in, i) for i, (f, m) in enumerate(zip(formats, outs))]
            product = Product(rows(n, n_in), matrices)
            check(product.matmul(), product.reference(roundings(n_in)), (n_in, outs, n))


def test_a_row_does_not_depend_on_the_others() -> None:
    matrices = [Matrix("q4_k", 65, 256), Matrix("f32", 7, 256)]
    x = rows(65, 256)
    wanted = Product(x, matrices).matmul()
    for first, n in ((0, 9), (20, 31), (31, 33), (64, 1)):
        got = Product(x[first : first + n], matrices).matmul()
        for y, whole in zip(got, wanted):
            assert np.array_equal(y.view(np.int32), whole[first : first + n].view(np.int32))


FUSED: dict[str, dict[str, Any]] = {
    "three biases": {"formats": ("q6_k", "q4_k", "q8_0"), "bias": True},
    "residual": {"formats": ("q4_k",), "residual": True},
    "bias and residual": {"formats": ("f16",), "residual": True, "bias": True},
    "SiLU gate": {"formats": ("q4_k", "q4_k"), "gate": "GATE_SILU"},
    "GELU gate of two formats, with biases": {
        "formats": ("iq4_xs", "q6_k"),
        "gate": "GATE_GELU",
        "bias": True,
    },
    "SiLU gate of floats": {"formats": ("bf16", "f32"), "gate": "GATE_SILU"},
}


def fused_product(case: str, n: int, n_out: int, n_in: int) -> Product:
    options = FUSED[case]
    gate, formats = options.get("gate", "GATE_NONE"), options["formats"]
    outs = [n_out + (0 if gate != "GATE_NONE" else 3 * i) for i in range(len(formats))]
    has_bias = options.get("bias", False)
    matrices = [Matrix(f, m, n_in, i, has_bias) for i, (f, m) in enumerate(zip(formats, outs))]
    product = Product(rows(n, n_in), matrices, gate=gate)
    if options.get("residual"):
        product.residual = rows(n, n_out, seed=1)
    return product


@pytest.mark.parametrize("case", FUSED)
def test_what_is_fused_equals_the_parts_in_float64(case: str) -> None:
    for n, n_out in ((31, 33), (65, 1)):
        product = fused_product(case, n, n_out, 256)
        check(product.matmul(), product.reference(roundings(256)), (n, n_out))


def test_rows_of_logits() -> None:
    product = Product(rows(9, 32), [Matrix("q8_0", 33, 32)], logit_rows=range(9))
    check(product.matmul(), product.reference(roundings(32)), "logits")


@pytest.mark.parametrize("case", ["three biases", "residual", "SiLU gate of floats"])
def test_no_access_is_out_of_bounds_unwritten_or_a_race(case: str) -> None:
    product = fused_product(case, 33, 9, 256)
    check(product.matmul(checked=True), product.reference(roundings(256)), case)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    x, matrices = rows(40, 256), [Matrix("q4_k", 9, 256)]
    clean = Product(x, matrices).matmul()[0]
    x[33, 200] = np.inf
    dirty = Product(x, matrices).matmul()[0]
    assert not np.isfinite(dirty[33]).any()
    assert np.array_equal(np.delete(dirty, 33, 0), np.delete(clean, 33, 0))
