"""Q8_0: 32 signed bytes times one scale.

The layout is in native/formats/q8_0.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 34] -> float32 [n_blocks, 32]."""
    return half_at(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)
