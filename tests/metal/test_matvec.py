"""matvec: every format, beside float64; what is fused with it; the same bits for any TOKENS."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import needs_softmetal
from matrices import GROUPS, OUTS, Fused, Product, check, matrices, rows

pytestmark = needs_softmetal

# TOKENS, and rows that there are
COUNTS = ((2, 1), (2, 2), (4, 3), (4, 4), (8, 5), (8, 6), (8, 7), (8, 8))


def roundings(n_in: int) -> int:
    """That a term meets. Decoding: 2. In its run: a product, at most 4 sums of vectors, 2 to one
    number. A lane adds a run with one or two: of quantised weights at most 4 runs for every 2,048,
    of floats one for every 128, and one of the row's rest. 5 halvings of the lanes."""
    return 2 + 7 + 2 * (4 * -(-n_in // 2048) + n_in // 128 + 1) + 5


@pytest.mark.parametrize("group", GROUPS)
def test_every_format_and_size_and_the_same_bits_for_any_number_of_tokens(group: str) -> None:
    formats, widths = GROUPS[group]
    for n_in in widths:
        for outs in OUTS if n_in == widths[0] else OUTS[:1]:
            x, weights = rows(8, n_in), matrices(formats, outs, n_in)
            alone = [Product(x[i : i + 1], weights).matvec(1) for i in range(8)]
            single = [np.concatenate(ys) for ys in zip(*alone, strict=True)]
            check(single, Product(x, weights).reference(roundings(n_in)), (n_in, outs))
            for tokens, n in COUNTS:
                together = Product(x[:n], weights).matvec(tokens)
                for y, one in zip(together, single, strict=True):
                    same = y.view(np.int32) == one[:n].view(np.int32)
                    assert same.all(), (n_in, outs, tokens, n, np.argwhere(~same)[0])


# TOKENS, n_in, what is fused
FUSED = {
    "norm, three biases": (1, 512, Fused(("q4_k", "q4_k", "q6_k"), norm=True, bias=True)),
    "norm of selected rows": (2, 256, Fused(("q6_k",), norm=True, logit_rows=(4, 1))),
    "selected rows": (4, 257, Fused(("f16",), logit_rows=(0, 4, 2))),
    "residual": (1, 512, Fused(("q4_k",), residual=True)),
    "bias and residual": (8, 129, Fused(("f32",), residual=True, bias=True)),
    "norm and SiLU gate": (1, 512, Fused(("q4_k", "q4_k"), norm=True, gate="GATE_SILU")),
    "norm and GELU gate of two formats, with biases": (
        4,
        256,
        Fused(("q5_k", "iq4_xs"), norm=True, bias=True, gate="GATE_GELU"),
    ),
    "norm and SiLU gate of floats": (
        8,
        259,
        Fused(("bf16", "f32"), norm=True, gate="GATE_SILU"),
    ),
}


@pytest.mark.parametrize("case", FUSED)
@pytest.mark.parametrize("n_out", [1, 33])
def test_what_is_fused_equals_the_parts_in_float64(case: str, n_out: int) -> None:
    tokens, n_in, fused = FUSED[case]
    product = fused.product(max(tokens, 1 + max(fused.logit_rows, default=0)), n_out, n_in)
    check(product.matvec(tokens), product.reference(roundings(n_in)), n_out)


@pytest.mark.parametrize("case", ["norm, three biases", "norm and SiLU gate of floats"])
def test_no_access_is_out_of_bounds_unwritten_or_a_race(case: str) -> None:
    tokens, n_in, fused = FUSED[case]
    product = fused.product(tokens, 9, n_in)
    check(product.matvec(tokens, checked=True), product.reference(roundings(n_in)), case)


@pytest.mark.parametrize("group", GROUPS)
def test_no_format_reads_beyond_its_blocks(group: str) -> None:
    formats, widths = GROUPS[group]
    product = Product(rows(1, widths[0]), matrices(formats, (5, 1, 9), widths[0]))
    check(product.matvec(1, checked=True), product.reference(roundings(widths[0])), group)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    x, weights = rows(4, 512), matrices(["q4_k"], [9], 512)
    clean = Product(x, weights).matvec(4)[0]
    x[2, 300] = np.inf
    dirty = Product(x, weights).matvec(4)[0]
    assert not np.isfinite(dirty[2]).any()
    assert np.array_equal(dirty[[0, 1, 3]], clean[[0, 1, 3]])
