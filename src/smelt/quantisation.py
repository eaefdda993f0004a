"""Quantising a model: from a GGUF file in floats to one in a mixture of quantised formats."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smelt.errors import QuantisationError
from smelt.formats import FORMATS, Format, decode_native, encode_native
from smelt.gguf_file import GGUFFile, Tensor
from smelt.gguf_writer import NewTensor, write_gguf
from smelt.mixtures import MIXTURES, Choice, Mixture, choose_formats
from smelt.new_file import check_place

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Quantised", "quantize"]

FLOATS = ("f32", "f16", "bf16")
CHUNK = 1 << 16  # weights: a task of some milliseconds, small enough for a cache
QUANTISATION_VERSION = 2  # of ggml's block layouts: GGML_QNT_VERSION in ggml.h


@dataclass(frozen=True)
class Quantised:
    """What quantize() has done."""

    path: Path
    formats: dict[str, tuple[str, str]]
    """Of every tensor: its format before and after."""
    fallbacks: list[str]
    """Tensors whose rows do not fit the format that the mixture means for them."""
    n_weights: int
    bytes_before: int
    """Of all tensors."""
    bytes_after: int
    seconds: float


def quantize(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    mixture: str = "Q4_K_M",
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> Quantised:
    """Quantise a GGUF file in F32, F16 or BF16, all of its metadata kept.

    mixture: "Q4_K_M" or another name of smelt.mixtures.MIXTURES, in either case of letters.
    threads: at most this many; one a core by default. The bits do not depend on it.
    progress: called with (weights done, weights in all). The parts of a split model become one
    file. The new file appears when it is complete; on any error, nothing is left of it.

    Raises QuantisationError for an unknown mixture, and for a tensor that cannot be quantised,
    naming it; FileExistsError if there is a file at path_out already and `overwrite` is not set,
    or if it is the one to be read; OSError where files cannot be read or written; and what
    GGUFFile raises.
    """
    started = time.perf_counter()
    chosen = _mixture(mixture)
    target = Path(path_out)
    with GGUFFile(path_in) as file:
        _refuse_target(file, target, overwrite)
        shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
        choices = choose_formats(chosen, file.metadata, shapes)
        plan = _plan(file, choices)
        entries = [
            NewTensor(t.name, t.shape, t.gguf_type, t.nbytes)
            if format is None
            else NewTensor.of(t.name, t.shape, format)
            for t, format in plan
        ]
        with _Workers(plan, threads or os.cpu_count() or 1, progress) as workers:
            write_gguf(
                target,
                _metadata(file, chosen),
                entries,
                workers.convert_all(),
                alignment=file.alignment,
            )
        return Quantised(
            path=target,
            formats={t.name: (t.format, format.name if format else t.format) for t, format in plan},
            fallbacks=[name for name, choice in choices.items() if choice.is_fallback],
            n_weights=sum(math.prod(t.shape) for t, _ in plan),
            bytes_before=sum(t.nbytes for t, _ in plan),
            bytes_after=sum(entry.nbytes for entry in entries),
            seconds=time.perf_counter() - started,
        )


def _mixture(name: str) -> Mixture:
    try:
        return MIXTURES[name.upper()]
    except KeyError:
        raise QuantisationError(
            f"expected a mixture among {', '.join(MIXTURES)}, found {name!r}"
        ) from None


def _refuse_target(file: GGUFFile, target: Path, overwrite: bool) -> None:
    check_place(target)
    if not target.exists():
        return
    if any(os.path.samefile(path, target) for path in file.paths):
        message = "The file to be read cannot be the one to be written"
    elif not overwrite:
        message = "File exists; --force, in Python overwrite=True, replaces it"
    else:
        return
    raise FileExistsError(errno.EEXIST, message, str(target))


def _plan(file: GGUFFile, chosen: Mapping[str, Choice]) -> list[tuple[Tensor, Format | None]]:
    """Every tensor with its new format, or None where it stays as it is."""
    plan: list[tuple[Tensor, Format | None]] = []
    for name, tensor in file.tensors.items():
        if name not in chosen or chosen[name].format == tensor.format:
            plan.append((tensor, None))
        elif tensor.format in FLOATS:
            plan.append((tensor, FORMATS[chosen[name].format]))
        else:
            raise QuantisationError(
                f"{tensor.file}: tensor {name!r}: expected weights in F32, F16 or BF16, found "
                f"{tensor.format}; quantise the file that this one was made from"
            )
    if not chosen:
        raise QuantisationError(f"{file.path}: expected weight matrices, found none")
    unknown = [t for t, _ in plan if not t.nbytes and 0 not in t.shape]
    if unknown:
        raise QuantisationError(
            f"{file.path}: tensor {unknown[0].name!r}: expected a format whose size is known, "
            f"found {unknown[0].format}"
        )
    return plan


def _metadata(file: GGUFFile, mixture: Mixture) -> dict[str, Any]:
    """As the file has it, but for what the conversion changes."""
    metadata: dict[str, Any] = {
        key: file.metadata.raw(key) for key in file.metadata if not key.startswith("split.")
    }
    metadata["general.quantization_version"] = QUANTISATION_VERSION
    metadata["general.file_type"] = mixture.file_type
    return metadata


class _Workers:
    """Threads that convert a model, tensor by tensor."""

    def __init__(
        self,
        plan: list[tuple[Tensor, Format | None]],
        n_threads: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._plan = plan
        self._progress = progress or (lambda done, total: None)
        self._done = 0
        self._total = sum(math.prod(tensor.shape) for tensor, format in plan if format)
        self._pool = ThreadPoolExecutor(n_threads)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def convert_all(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The bytes of every tensor, in the order of the plan."""
        self._progress(0, self._total)
        for tensor, format in self._plan:
            yield tensor.data if format is None else self._convert(tensor, format)
            tensor.forget()

    def _convert(self, tensor: Tensor, format: Format) -> npt.NDArray[np.uint8]:
        """Chunk by chunk. Chunks are whole blocks, rows whole numbers of blocks: rows need not
        be told apart."""
        n_weights = math.prod(tensor.shape)
        blocks = np.empty(n_weights // format.block_weights * format.block_bytes, np.uint8)
        starts = range(0, n_weights, CHUNK)
        tasks = [
            self._pool.submit(_convert_chunk, tensor, format, blocks, start) for start in starts
        ]
        for start, task in zip(starts, tasks, strict=True):
            task.result()
            self._done += min(CHUNK, n_weights - start)
            self._progress(self._done, self._total)
        return blocks


def _convert_chunk(
    tensor: Tensor, format: Format, blocks: npt.NDArray[np.uint8], start: int
) -> None:
    """Weights from `start` on, into their place among `blocks`."""
    source = FORMATS[tensor.format]
    size = source.block_bytes  # of a weight
    weights = decode_native(source, tensor.data[start * size : (start + CHUNK) * size])
    try:
        chunk = encode_native(format, weights)
    except QuantisationError:
        raise _refusal(tensor, format, weights, start) from None
    first = start // format.block_weights * format.block_bytes
    blocks[first : first + chunk.nbytes] = chunk


def _refusal(
    tensor: Tensor, format: Format, weights: npt.NDArray[np.float32], start: int
) -> QuantisationError:
    """Says where in the tensor the weight of the greatest magnitude is, NaN before all."""
    worst = int(np.argmax(np.where(np.isnan(weights), np.inf, np.abs(weights))))
    index = tuple(map(int, np.unravel_index(start + worst, tensor.shape)))
    return QuantisationError(
        f"{tensor.file}: tensor {tensor.name!r}: expected finite weights within the range of "
        f"{format.gguf_name}, found {float(weights[worst]):g} at {list(index)}"
    )
