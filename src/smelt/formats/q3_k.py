"""Q3_K: 16 sub-blocks of 16 three-bit weights with six-bit scales.

The layout is in native/formats/q3_k.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, scale_sub_blocks, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 110] -> float32 [n_blocks, 256]."""
    high = unpack_planes(blocks[:, :32], width=32, bits=1)
    low = unpack_planes(blocks[:, 32:96], width=32, bits=2)
    scale_low = unpack_planes(blocks[:, 96:104], width=8, bits=4)
    scale_high = unpack_planes(blocks[:, 104:108], width=4, bits=2)
    scales = (scale_low | scale_high << 4).astype(np.float32) - 32
    q = (low | high << 2).astype(np.float32) - 4
    return scale_sub_blocks(half_at(blocks, 108) * scales, q)
