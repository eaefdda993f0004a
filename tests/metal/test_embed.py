"""embed: the GPU's decoder of every format has the bits of the C decoder, for any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_args import CONST, struct
from kernels import Step, needs_softmetal, run

from smelt.formats import FORMATS, decode_native

pytestmark = needs_softmetal

TOKENS = (3, 0, 6, 6, 1)
ROWS = 7


def table(format: str, width: int, seed: int) -> np.ndarray:
    """Random bytes: also scales that are infinite, not a number, subnormal or of either sign."""
    rng = np.random.default_rng(seed)
    row_bytes = FORMATS[format].row_bytes(width)
    return rng.integers(0, 256, (ROWS, row_bytes), np.uint8)


def embed(format: str, blocks: np.ndarray, width: int, checked: bool = False) -> np.ndarray:
    y = np.full((len(TOKENS), width), np.nan, np.float32)
    args = struct(
        "element_args", width=width, rows=CONST["ROWS_OF_TOKENS"], row_bytes=blocks.shape[1]
    )
    threads = CONST["ELEMENT_THREADS"]
    run(
        "embed",
        "embed",
        args,
        [blocks, y],
        (-(-width // threads), len(TOKENS)),
        threads,
        step=Step(positions=range(len(TOKENS)), token_ids=TOKENS),
        constants={"FORMAT_0": FORMATS[format].index},
        checked=checked,
    )
    return y


def assert_decoded(format: str, blocks: np.ndarray, y: np.ndarray) -> None:
    wanted = decode_native(FORMATS[format], blocks).reshape(ROWS, -1)[list(TOKENS)]
    same = (y.view(np.int32) == wanted.view(np.int32)) | (np.isnan(y) & np.isnan(wanted))
    assert same.all(), (format, np.argwhere(~same)[0], y[~same][0], wanted[~same][0])
    assert np.isfinite(wanted).any()


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_the_table_have_the_bits_of_the_decoder(format: str) -> None:
    block = FORMATS[format].block_weights
    for width in (1, 3, 33, 257, 1030) if block == 1 else (block, 3 * block, 33 * block):
        blocks = table(format, width, width)
        assert_decoded(format, blocks, embed(format, blocks, width))


@pytest.mark.parametrize("format", ["f16", "q5_1", "q3_k", "iq4_xs"])
def test_no_access_is_out_of_bounds_unwritten_or_a_race(format: str) -> None:
    width = 33 if FORMATS[format].block_weights == 1 else 256
    blocks = table(format, width, 0)
    assert_decoded(format, blocks, embed(format, blocks, width, checked=True))
