"""Q5_1: 32 five-bit weights with a scale and an offset.

The layout is in native/formats/q5_1.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 24] -> float32 [n_blocks, 32]."""
    low = unpack_planes(blocks[:, 8:], width=16, bits=4)
    high = unpack_planes(blocks[:, 4:8], width=1, bits=1)
    return half_at(blocks, 0) * (low | high << 4).astype(np.float32) + half_at(blocks, 2)
