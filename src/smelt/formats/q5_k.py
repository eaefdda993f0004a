"""Q5_K: 8 sub-blocks of 32 five-bit weights with six-bit scales and minima.

The layout is in native/formats/q5_k.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, scale_sub_blocks, unpack_planes, unpack_scales_mins


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 176] -> float32 [n_blocks, 256]."""
    scales, mins = unpack_scales_mins(blocks[:, 4:16])
    high = unpack_planes(blocks[:, 16:48], width=32, bits=1)
    low = unpack_planes(blocks[:, 48:], width=32, bits=4)
    return scale_sub_blocks(
        half_at(blocks, 0) * scales.astype(np.float32),
        (low | high << 4).astype(np.float32),
        half_at(blocks, 2) * mins.astype(np.float32),
    )
