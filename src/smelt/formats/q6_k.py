"""Q6_K: 16 sub-blocks of 16 six-bit weights with byte scales.

The layout is in native/formats/q6_k.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, scale_sub_blocks, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 210] -> float32 [n_blocks, 256]."""
    low = unpack_planes(blocks[:, :128], width=64, bits=4)
    high = unpack_planes(blocks[:, 128:192], width=32, bits=2)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    q = (low | high << 4).astype(np.float32) - 32
    return scale_sub_blocks(half_at(blocks, 208) * scales, q)
