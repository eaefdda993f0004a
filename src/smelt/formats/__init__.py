"""The tensor formats: what a block is, how it is decoded in NumPy (the oracle) and in C, and how
weights become blocks.

The table is native/formats.def, read through the compiled extension; there is no second one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from smelt import _quant
from smelt.errors import ModelFormatError, QuantisationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FORMATS", "Format", "by_gguf_type", "decode_native", "encode_native"]


@dataclass(frozen=True)
class Format:
    """One tensor format: blocks of `block_weights` weights in `block_bytes` bytes."""

    name: str  # smelt's name: "q4_k"
    gguf_name: str  # "Q4_K"
    gguf_type: int  # its number in a GGUF file
    index: int  # enum format in native code
    block_weights: int
    block_bytes: int

    def row_bytes(self, n_in: int) -> int:
        """Bytes of a row of `n_in` weights.

        Raises ModelFormatError if the row is no whole number of blocks.
        """
        if n_in < 0 or n_in % self.block_weights:
            raise ModelFormatError(
                f"a row of {n_in} weights is no whole number of {self.gguf_name} blocks, "
                f"which hold {self.block_weights} weights each"
            )
        return n_in // self.block_weights * self.block_bytes

    def decode(self, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode with the NumPy reference, which defines the format.

        raw: uint8 [..., n_bytes], the last axis whole blocks.
        Returns a new float32 [..., n_weights]. An infinite or NaN scale decodes silently.
        Raises TypeError for another dtype, ModelFormatError for a broken block.
        """
        import numpy as np

        shape = _decoded_shape(self, raw)
        reference = importlib.import_module(f"{__name__}.{self.name}")
        blocks = np.ascontiguousarray(raw).reshape(-1, self.block_bytes)
        with np.errstate(invalid="ignore", over="ignore"):
            weights: NDArray[np.float32] = reference.decode_blocks(blocks)
        return weights.reshape(shape)


def _decoded_shape(format: Format, raw: NDArray[np.uint8]) -> tuple[int, ...]:
    if raw.dtype != "uint8" or raw.ndim == 0:
        raise TypeError(
            f"blocks must be an array of uint8 with one axis or more, "
            f"not {raw.dtype} with {raw.ndim}: view the tensor as uint8"
        )
    n_blocks, rest = divmod(raw.shape[-1], format.block_bytes)
    if rest:
        raise ModelFormatError(
            f"{raw.shape[-1]} bytes are no whole number of {format.gguf_name} blocks, "
            f"which take {format.block_bytes} bytes each"
        )
    return (*raw.shape[:-1], n_blocks * format.block_weights)


def decode_native(format: Format, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode with the C decoder; otherwise as Format.decode. The GIL is released meanwhile."""
    import numpy as np

    weights = np.empty(_decoded_shape(format, raw), dtype=np.float32)
    blocks = np.ascontiguousarray(raw)
    if blocks.ctypes.data % 2:  # C reads halves in place
        blocks = blocks.copy()
    n_blocks = blocks.size // format.block_bytes
    _quant.decode(format.index, blocks.ctypes.data, weights.ctypes.data, n_blocks)
    return weights


def encode_native(format: Format, weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Store weights in a format, with the C quantisers; the GIL is released meanwhile.

    weights: float32 [..., n_weights], the last axis whole blocks.
    Returns uint8 [..., n_bytes]. A block depends on its own weights only.
    Raises TypeError for another dtype, ModelFormatError where the last axis is no whole number of
    blocks, QuantisationError for a weight that is not finite or too large for the format, and for
    a format without a quantiser (IQ4_NL, IQ4_XS).
    """
    import numpy as np

    if weights.dtype != "float32" or weights.ndim == 0:
        raise TypeError(
            f"weights must be an array of float32 with one axis or more, "
            f"not {weights.dtype} with {weights.ndim}"
        )
    blocks = np.empty((*weights.shape[:-1], format.row_bytes(weights.shape[-1])), np.uint8)
    source = np.ascontiguousarray(weights)
    addresses = source.ctypes.data, blocks.ctypes.data
    if format.name == "f32":
        blocks = source.view(np.uint8).copy()
        bad = _first_not_finite(source)
    elif format.name in ("f16", "bf16"):
        rounding = _quant.round_f16 if format.name == "f16" else _quant.round_bf16
        rounding(*addresses, source.size)
        bad = _first_not_finite(decode_native(format, blocks))
    elif _quant.quantisable(format.index):
        bad = _quant.quantise(format.index, *addresses, source.size // format.block_weights)
    else:
        raise QuantisationError(f"smelt reads {format.gguf_name}, and has no quantiser for it")
    if bad is not None:
        value = float(source.ravel()[bad])
        raise QuantisationError(
            f"expected finite weights within the range of {format.gguf_name}, found {value:g} "
            f"at index {bad}"
        )
    return blocks


def _first_not_finite(weights: NDArray[np.float32]) -> int | None:
    import numpy as np

    finite = np.isfinite(weights).ravel()
    return None if finite.all() else int(finite.argmin())


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        name: Format(name, gguf_name, gguf_type, index, block_weights, block_bytes)
        for index, (name, gguf_name, gguf_type, block_weights, block_bytes) in enumerate(
            _quant.formats()
        )
    }
)

_BY_GGUF_TYPE = {format.gguf_type: format for format in FORMATS.values()}


def by_gguf_type(gguf_type: int) -> Format | None:
    """The format with this number in GGUF files, or None if smelt cannot compute with it."""
    return _BY_GGUF_TYPE.get(gguf_type)
