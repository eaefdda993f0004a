"""IQ4_NL: 32 nibbles that index sixteen levels, times one scale.

The layout is in native/formats/iq4_nl.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import IQ4_VALUES, half_at, unpack_planes


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 18] -> float32 [n_blocks, 32]."""
    q = unpack_planes(blocks[:, 2:], width=16, bits=4)
    return half_at(blocks, 0) * IQ4_VALUES[q].astype(np.float32)
