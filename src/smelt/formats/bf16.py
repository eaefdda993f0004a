"""BF16: the upper half of a float32.

The layout is in native/formats/bf16.h.
"""

import numpy as np
from numpy.typing import NDArray


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 2] -> float32 [n_blocks, 1]."""
    return (blocks.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
