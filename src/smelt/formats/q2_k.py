"""Q2_K: 16 sub-blocks of 16 two-bit weights with four-bit scales and minima.

The layout is in native/formats/q2_k.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, scale_sub_blocks, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 84] -> float32 [n_blocks, 256]."""
    scales, mins = blocks[:, :16] & 15, blocks[:, :16] >> 4
    q = unpack_planes(blocks[:, 16:80], width=32, bits=2)
    return scale_sub_blocks(
        half_at(blocks, 80) * scales.astype(np.float32),
        q.astype(np.float32),
        half_at(blocks, 82) * mins.astype(np.float32),
    )
