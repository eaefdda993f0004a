"""IQ4_XS: 8 sub-blocks of 32 nibbles that index sixteen levels, with six-bit scales.

The layout is in native/formats/iq4_xs.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import IQ4_VALUES, half_at, scale_sub_blocks, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 136] -> float32 [n_blocks, 256]."""
    scale_high = unpack_planes(blocks[:, 2:4], width=1, bits=2)
    scale_low = unpack_planes(blocks[:, 4:8], width=1, bits=4)
    scales = (scale_low | scale_high << 4).astype(np.float32) - 32
    q = unpack_planes(blocks[:, 8:], width=16, bits=4)
    return scale_sub_blocks(half_at(blocks, 0) * scales, IQ4_VALUES[q].astype(np.float32))
