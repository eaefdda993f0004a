"""Packed matrices in a file beside the model, so that the next start maps them and packs nothing.

MODEL.packed is a GGUF file of architecture "smelt-packed". Each of its tensors is a stream of
backends.cpu, named for its matrices: their groups of rows in the layout of native/cpu/packed.h, as
bytes. Two values say what it belongs to: the number of that layout, and size and time of the
model's files.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ModelFormatError, UnsupportedModelError
from .gguf_file import GGUFFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    ByteArray = npt.NDArray[np.uint8]

__all__ = ["Packed", "find_packed", "pack"]

ARCHITECTURE_KEY, ARCHITECTURE = "general.architecture", "smelt-packed"
LAYOUT, SOURCE = "smelt.packed.layout", "smelt.packed.source"
GGUF_I8 = 24

logger = logging.getLogger("smelt")


@dataclass(frozen=True)
class Packed:
    """What pack() has done."""

    path: Path
    nbytes: int
    """Of the file."""
    seconds: float


def pack(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack a model's quantised matrices for the CPU into MODEL.packed, beside it (of a split model,
    beside its first file). An Engine on the CPU maps that file for as long as the model's own files
    keep their size and time; several processes then share its memory. It is about as large as the
    model, and can be deleted at any time.

    progress: called with (bytes written, bytes in all). The file appears when it is complete, and
    replaces one that was made before; on any error, that one stays.

    Raises UnsupportedModelError for a model without quantised matrices; FileExistsError if
    something else has that name, or a damaged file; OSError where files cannot be read or written;
    and what Model and the CPU device raise.
    """
    from .backends.base import PAGE_TOKENS
    from .backends.cpu import LINE, Device
    from .gguf_writer import NewTensor, write_gguf
    from .model import Model

    started = time.perf_counter()
    model = Model(path)
    target = _path_beside(model.file)
    if target.exists() and not _is_ours(target):
        message = "Not packed matrices, or damaged ones: delete the file or move it, and pack again"
        raise FileExistsError(errno.EEXIST, message, str(target))
    source = _source(model.file)
    device = Device(threads)
    program = model.program(PAGE_TOKENS, 1)
    device.load(program)
    streams = dict(device.packed_streams(program))
    if not streams:
        raise UnsupportedModelError(
            f"{model.file.path}: expected quantised matrices, found none: there is nothing to pack"
        )
    write_gguf(
        target,
        {
            ARCHITECTURE_KEY: ARCHITECTURE,
            "general.alignment": LINE,
            LAYOUT: _layout(),
            SOURCE: source,
        },
        [NewTensor(name, (data.nbytes,), GGUF_I8, data.nbytes) for name, data in streams.items()],
        _told(streams.values(), progress or (lambda done, total: None)),
        alignment=LINE,
    )
    return Packed(target, target.stat().st_size, time.perf_counter() - started)


def find_packed(model: GGUFFile) -> Mapping[str, ByteArray]:
    """The streams in MODEL.packed by name, mapped; none where there is no such file, and, with a
    warning, where it is damaged or belongs to something else."""
    path = _path_beside(model)
    try:
        with GGUFFile(path) as file:
            here = [_scalar(file, key) for key in (ARCHITECTURE_KEY, LAYOUT, SOURCE)]
            if here == [ARCHITECTURE, _layout(), _source(model)]:
                return {name: tensor.data for name, tensor in file.tensors.items()}
    except FileNotFoundError:
        return {}
    except (ModelFormatError, OSError) as error:
        logger.warning("%s; smelt packs the model again", error)
        return {}
    logger.warning(
        "%s was made of another %s, or for another version of smelt, and is not used; "
        "`smelt pack` makes it anew",
        path,
        model.path.name,
    )
    return {}


def _path_beside(model: GGUFFile) -> Path:
    return model.path.with_name(model.path.name + ".packed")


def _layout() -> int:
    from . import _cpu

    return int(_cpu.packed_layout)


def _source(model: GGUFFile) -> str:
    """Size and time of each of the model's files: what changes with their content, without a look
    at all of it."""
    stats = [os.stat(path) for path in model.paths]
    return " ".join(f"{stat.st_size}@{stat.st_mtime_ns}" for stat in stats)


def _scalar(file: GGUFFile, key: str) -> str | int | None:
    """A text or an integer of the metadata; None for all else, however large it is."""
    value = file.metadata.get(key)
    return value if isinstance(value, (str, int)) else None


def _is_ours(path: Path) -> bool:
    try:
        with GGUFFile(path) as file:
            return _scalar(file, ARCHITECTURE_KEY) == ARCHITECTURE
    except (ModelFormatError, OSError):
        return False


def _told(
    streams: Collection[ByteArray], progress: Callable[[int, int], None]
) -> Iterator[ByteArray]:
    done, total = 0, sum(data.nbytes for data in streams)
    for data in streams:
        progress(done, total)
        yield data
        done += data.nbytes
    progress(done, total)
