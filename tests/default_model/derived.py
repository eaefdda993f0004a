"""The default model in other formats: decoded from the file that is in the package, and quantised
again. That costs quality twice, but these files only have to be the same everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, dequantize

from smelt import default_model_path, quantize
from smelt.formats import FORMATS
from smelt.gguf_file import GGUFFile
from smelt.gguf_writer import NewTensor, write_gguf

__all__ = ["PACKAGED", "RECORDED", "derive"]

PACKAGED = "Q5_K_M"
RECORDED = ["F16", "Q8_0", "Q6_K", PACKAGED, "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"]


def derive(format: str, folder: Path) -> Path:
    """The file of the default model in a format; made in `folder` if it is not the packaged one."""
    if format == PACKAGED:
        return default_model_path()
    decoded = folder / "F32.gguf"
    if not decoded.exists():
        _decode(decoded)
    path = folder / f"{format}.gguf"
    quantize(decoded, path, format)
    return path


def _decode(path: Path) -> None:
    with GGUFFile(default_model_path()) as file:
        tensors = file.tensors.values()
        values = (
            np.ascontiguousarray(dequantize(t.data, GGMLQuantizationType(t.gguf_type)), np.float32)
            for t in tensors
        )
        write_gguf(
            path,
            {key: file.metadata.raw(key) for key in file.metadata},
            [NewTensor.of(t.name, t.shape, FORMATS["f32"]) for t in tensors],
            (array.view(np.uint8).reshape(-1) for array in values),
        )
