"""matvec: every format, beside float64; what is fused with it; the same bits for any TOKENS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import needs_softmetal
from matrices import GROUPS, OUTS, Matrix, Product, check, rows

pytestmark = needs_softmetal


def roundings(n_in: int) -> int:
    """That a term meets. Decoding: 2. In its run: a product, at most 4 sums of vectors, 2 to one
    number. A lane adds a run with one or two: at most 4 runs of 2,048 quantised weights or one of
    128 floats, the odd ones at a row's end included. 5 halvings of the lanes."""
    return 2 + 7 + 2 * (4 * -(-n_in // 2048) + n_in // 128) + 5


@pytest.mark.parametrize("group", GROUPS)
def test_every_format_and_size_and_the_same_bits_for_any_number_of_tokens(group: str) -> None:
    formats, widths = GROUPS[group]
    for n_in in widths:
        for outs in OUTS[: 1 if n_in == widths[-1] else 2]:
            matrices = [Matrix(f, n, n_in, i) for i, (f, n) in enumerate(zip(formats, outs))]
            x = rows(8, n_in)
            alone = [Product(x[i : i + 1], matrices).matvec(1) for i in range(8)]
            single = [np.concatenate(ys) for ys in zip(*alone)]
            check(single, Product(x, matrices).reference(roundings(n_in)), (n_in, outs))
            for tokens, n in ((2, 1), (2, 2), (4, 3), (8, 5), (8, 8)):
                together = Product(x[:n], matrices).matvec(tokens)
                for y, one in zip(together, single):
                    same = y.view(np.int32) == one[:n].view(np.int32)
                    assert same.all(), (n_in, outs, tokens, n, np.argwhere(~same)[0])


FUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "norm, three biases": (1, {"norm": True, "formats": ("q4_k", "q4_k", "q6_k"), "bias": True}),
    "norm of selected rows": (2, {"norm": True, "formats": ("q6_k",), "selected": (4, 1)}),
    "selected rows": (4, {"formats": ("f16",), "selected": (0, 4, 2)}),
    "residual": (1, {"formats": ("q4_k",), "residual": True}),
    "bias and residual": (8, {"formats": ("f32",), "residual": True, "bias": True}),
    "norm and SiLU gate": (1, {"norm": True, "formats": ("q4_k", "q4_k"), "gate": "GATE_SILU"}),
    "norm and GELU gate of two formats, with biases": (
        4,
        {"norm": True, "formats": ("q5_k", "iq4_xs"), "gate": "GATE_GELU", "bias": True},
    ),
    "norm and SiLU gate of floats": (
        8,
        {"norm": True, "formats": ("bf16", "f32"), "gate": "GATE_SILU"},
    ),
}


def fused_product(case: str, n_out: int, n_in: int) -> tuple[int, Product]:
    tokens, options = FUSED[case]
    rng = np.random.default_rng(n_out)
    formats, gate = options["formats"], options.get("gate", "GATE_NONE")
    if FORMAT_FLOATS.issuperset(formats):
        n_in += 1  # an odd width
    outs = [n_out + (0 if gate != "GATE_NONE" else 3 * i) for i in range(len(formats))]
    has_bias = options.get("bias", False)
    matrices = [Matrix(f, n, n_in, i, has_bias) for i, (f, n) in enumerate(zip(formats, outs))]
    x = rows(5 if "selected" in options else tokens, n_in)
    selected = options.get("selected", ())
    product = Product(x, matrices, gate=gate, logit_rows=selected)
    if options.get("norm"):
        product.gain = (1 + rng.standard_normal(n_in)).astype(np.float32)
    if options.get("residual"):
        product.residual = rng.standard_normal((len(product.rows), n_out)).astype(np.float32)
    return tokens, product


FORMAT_FLOATS = {"f32", "f16", "bf16"}


@pytest.mark.parametrize("case", FUSED)
def test_what_is_fused_equals_the_parts_in_float64(case: str) -> None:
    for n_out, n_in in ((1, 256), (33, 512)):
        tokens, product = fused_product(case, n_out, n_in)
        check(product.matvec(tokens), product.reference(roundings(n_in)), (n_out, n_in))


@pytest.mark.parametrize("case", ["norm, three biases", "norm and SiLU gate of floats"])
def test_no_access_is_out_of_bounds_unwritten_or_a_race(case: str) -> None:
    tokens, product = fused_product(case, 9, 256)
    check(product.matvec(tokens, checked=True), product.reference(roundings(257)), case)


@pytest.mark.parametrize("group", GROUPS)
def test_formats_in_checked_mode(group: str) -> None:
    formats, widths = GROUPS[group]
    matrices = [Matrix(f, 5 + i, widths[0], i) for i, f in enumerate(formats)]
    product = Product(rows(1, widths[0]), matrices)
    check(product.matvec(1, checked=True), product.reference(roundings(widths[0])), group)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    x = rows(4, 512)
    matrices = [Matrix("q4_k", 9, 512)]
    clean = Product(x, matrices).matvec(4)[0]
    x[2, 300] = np.inf
    dirty = Product(x, matrices).matvec(4)[0]
    assert not np.isfinite(dirty[2]).any()
    assert np.array_equal(dirty[[0, 1, 3]], clean[[0, 1, 3]])
