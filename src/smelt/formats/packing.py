"""What the block formats share: halves, bit planes and six-bit scales; twin of packing.h."""

import numpy as np
from numpy.typing import NDArray

from smelt import _quant

IQ4_VALUES: NDArray[np.int8] = np.array(_quant.iq4_values(), dtype=np.int8)
"""The sixteen levels of IQ4_NL and IQ4_XS."""


def half_at(blocks: NDArray[np.uint8], offset: int) -> NDArray[np.float32]:
    """The half at byte `offset` of every block, as float32 [n_blocks, 1]."""
    return blocks[:, offset : offset + 2].view(np.float16).astype(np.float32)


def unpack_planes(packed: NDArray[np.uint8], width: int, bits: int) -> NDArray[np.uint8]:
    """Split bytes into fields of 1, 2 or 4 bits that are stored in planes.

    Of every `width` bytes the lowest `bits` of each byte come first, then the next ones.
    packed: [n_blocks, n_bytes], n_bytes a multiple of `width`.
    Returns uint8 [n_blocks, n_bytes * 8 / bits].
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(-1, 1)
    n_blocks, n_bytes = packed.shape
    planes = packed.reshape(n_blocks, n_bytes // width, 1, width) >> shifts
    return (planes & np.uint8(2**bits - 1)).reshape(n_blocks, n_bytes * 8 // bits)


def unpack_scales_mins(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The six-bit scales and minima of Q4_K and Q5_K, whose bits packing.h sketches.

    packed: [n_blocks, 12]. Returns two arrays uint8 [n_blocks, 8].
    """
    scales, mins, low = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    return (
        np.hstack([scales & 63, (low & 15) | (scales >> 6 << 4)]),
        np.hstack([mins & 63, (low >> 4) | (mins >> 6 << 4)]),
    )


def scale_sub_blocks(
    scales: NDArray[np.float32], q: NDArray[np.float32], mins: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """scale * q - min, each scale and min over its sub-block of neighbouring weights.

    scales, mins: [n_blocks, n_sub_blocks]; q: [n_blocks, block_weights]. Returns the shape of q.
    """
    n_blocks, n_sub_blocks = scales.shape
    sub_blocks = q.reshape(n_blocks, n_sub_blocks, q.shape[1] // n_sub_blocks)
    weights = scales[:, :, None] * sub_blocks
    if mins is not None:
        weights -= mins[:, :, None]
    return weights.reshape(q.shape)
