"""Q4_0: 32 nibbles times one scale.

The layout is in native/formats/q4_0.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 18] -> float32 [n_blocks, 32]."""
    q = unpack_planes(blocks[:, 2:], width=16, bits=4)
    return half_at(blocks, 0) * (q.astype(np.float32) - 8)
