"""Random tensors in every format smelt computes with: any bytes for codes, sane scales."""

from __future__ import annotations

from functools import cache

import numpy as np

from smelt.formats import FORMATS

# Where a block's float16 scales lie, and their size beside the first one's. Minimums are chosen so
# that weights are about zero on average, which keeps the activations of a random model in bounds.
SCALES = {
    "q8_0": ((0, 1.0),),
    "q4_0": ((0, 1.0),),
    "q4_1": ((0, 1.0), (2, -7.5)),
    "q5_0": ((0, 1.0),),
    "q5_1": ((0, 1.0), (2, -15.5)),
    "q2_k": ((80, 1.0), (82, 1.5)),
    "q3_k": ((108, 1.0),),
    "q4_k": ((0, 1.0), (2, 7.5)),
    "q5_k": ((0, 1.0), (2, 15.5)),
    "q6_k": ((208, 1.0),),
    "iq4_nl": ((0, 1.0),),
    "iq4_xs": ((0, 1.0),),
}


def random_weights(
    rng: np.random.Generator, format: str, n_out: int, n_in: int, std: float
) -> np.ndarray:
    """Weights of about this standard deviation as a file holds them: uint8 [n_out, row_bytes]."""
    row_bytes = FORMATS[format].row_bytes(n_in)
    if format in SCALES:
        blocks = _random_blocks(rng, format, n_out * n_in // FORMATS[format].block_weights)
        _set_scales(blocks, format, rng.uniform(0.7, 1.3, len(blocks)) * std / _unit_std(format))
        return blocks.reshape(n_out, row_bytes)
    weights = (std * rng.standard_normal((n_out, n_in))).astype("<f4")
    if format == "f16":
        weights = weights.astype("<f2")
    elif format == "bf16":  # the upper half of a float32
        weights = np.ascontiguousarray(weights.view("<u2").reshape(n_out, n_in, 2)[..., 1])
    return weights.view(np.uint8).reshape(n_out, row_bytes)


def _random_blocks(rng: np.random.Generator, format: str, n_blocks: int) -> np.ndarray:
    n_bytes = FORMATS[format].block_bytes
    return np.frombuffer(rng.bytes(n_blocks * n_bytes), np.uint8).reshape(-1, n_bytes).copy()


def _set_scales(blocks: np.ndarray, format: str, scales: np.ndarray) -> None:
    for offset, factor in SCALES[format]:
        halves = (scales * factor).astype("<f2").reshape(-1, 1)
        blocks[:, offset : offset + 2] = halves.view(np.uint8)


@cache
def _unit_std(format: str) -> float:
    """The standard deviation of a format's weights where the scale of each block is one."""
    blocks = _random_blocks(np.random.default_rng(0), format, 256)
    _set_scales(blocks, format, np.ones(len(blocks)))
    return float(FORMATS[format].decode(blocks).std())
