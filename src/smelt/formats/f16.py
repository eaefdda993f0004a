"""F16: IEEE half precision.

The layout is in native/formats/f16.h.
"""

import numpy as np
from numpy.typing import NDArray

from smelt.formats.packing import half_at


def decode_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n_blocks, 2] -> float32 [n_blocks, 1]."""
    return half_at(blocks, 0)
