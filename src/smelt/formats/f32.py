"""F32: IEEE single precision.

The layout is in native/formats/f32.h.
"""

import numpy as np
from numpy.typing import NDArray


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 4] -> float32 [n_blocks, 1]."""
    return blocks.copy().view(np.float32)
