"""Small programs of a few ops, fed with given rows, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from metal_device import need_metal_device
from small_config import make_config
from smelt import _cpu
from smelt.backends import cpu, metal, reference
from smelt.backends.base import PAGE_TOKENS, Device, LoadedProgram, PagePool, Step
from smelt.config import Config
from smelt.graph.ops import Op, Recorder, Value, Weight
from smelt.graph.program import build

ISAS: list[str] = _cpu.instruction_sets()  # the plainest first: every other one must equal it
THREADS = (1, 2, 3)
ULP = 2.0**-24  # the largest relative error of one float32 rounding


@cache
def cpu_device(isa: str = ISAS[0], threads: int = 1) -> Device:
    """A CPU device; its threads are made once, since they live on between steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMELT_ISA", isa)
        return cpu.Device(threads)


@cache
def metal_device() -> Device:
    """The GPU of a Mac, or the software one that SMELT_SOFTMETAL=1 builds on Linux."""
    need_metal_device()
    return metal.Device()


def as_weight(name: str, x: np.ndarray) -> Weight:
    """A float32 (or float64) tensor [n] or [n_out, n_in] as the weight of an op."""
    x = np.ascontiguousarray(x)
    if x.dtype == np.float64:
        return Weight(name, x.shape, "f64", x)
    return Weight(name, x.shape, "f32", x.astype("<f4").reshape(-1).view(np.uint8))


class Feed(Recorder):
    """A Recorder whose programs begin with given rows: token i of a step gets row i."""

    def __init__(self, config: Config | None = None, capacity: int = PAGE_TOKENS):
        super().__init__(config or make_config(), {}, capacity)

    def rows(self, name: str, x: np.ndarray) -> Value:
        """x: float32 [n_tokens, *shape], as the table of an embed op; rows of heads come from a
        matmul with the identity behind it, as they do in models, which changes no number."""
        flat = self.embed(name, as_weight(name, x.reshape(len(x), -1)))
        if x.ndim == 2:
            return flat
        identity = as_weight("identity", np.eye(flat.width, dtype=np.float32))
        return self.matmul(f"{name}_heads", flat, identity, shape=x.shape[1:])


def make_step(
    n_tokens: int,
    positions: Sequence[int] | np.ndarray | None = None,
    sequences: Sequence[int] | np.ndarray | None = None,
    page_table: np.ndarray | None = None,
    first_row: int = 0,
) -> Step:
    """A step of rows first_row, first_row + 1, ...; all of its logits are wanted."""
    pages = -(-n_tokens // PAGE_TOKENS)

    def int32(x: Any) -> np.ndarray:
        return np.ascontiguousarray(x, np.int32)

    return Step(
        int32(np.arange(first_row, first_row + n_tokens)),
        int32(np.arange(n_tokens) if positions is None else positions),
        int32(np.zeros(n_tokens) if sequences is None else sequences),
        int32(np.arange(pages)[None] if page_table is None else page_table),
        int32(np.arange(n_tokens)),
    )


class Runner:
    """Recorded ops, loaded on one device with a page pool of their own."""

    def __init__(
        self,
        device: Device,
        ops: Sequence[Op],
        max_tokens: int,
        *,
        config: Config | None = None,
        kv_type: str = "f32",
        fused: bool = False,
        n_pages: int = 8,
    ):
        self.program = build(ops, max_tokens, max_tokens, fused, reuse=False)
        self.loaded: LoadedProgram = device.load(self.program)
        self.pool: PagePool = device.create_pool(config or make_config(), kv_type)
        self.pool.grow(n_pages)

    def __call__(self, step: Step | int) -> np.ndarray:
        """The last op's value, [n_tokens, width]."""
        step = make_step(step) if isinstance(step, int) else step
        return self.loaded.run(self.pool, step)

    def read(self, value: Value, n_tokens: int) -> np.ndarray:
        return self.loaded.read(value, n_tokens).copy()


def reference_device() -> Device:
    return reference.Device()


def assert_same_bits(got: np.ndarray, wanted: np.ndarray, what: object = "") -> None:
    """Equal float32 bits; a NaN equals a NaN, whatever its payload."""
    assert got.dtype == wanted.dtype == np.float32 and got.shape == wanted.shape, what
    same = (got.view(np.int32) == wanted.view(np.int32)) | (np.isnan(got) & np.isnan(wanted))
    if not same.all():
        at = tuple(np.argwhere(~same)[0])
        pytest.fail(f"{what}: {(~same).sum()} differ; at {at} {got[at]!r}, not {wanted[at]!r}")


def assert_within(
    got: np.ndarray, wanted: np.ndarray, bound: np.ndarray, what: object = ""
) -> None:
    """|got - wanted| <= bound, element by element."""
    excess = np.abs(got.astype(np.float64) - wanted) - bound
    if not (excess <= 0).all():  # a NaN fails too
        at = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
        wide = np.broadcast_to(bound, excess.shape)[at]
        pytest.fail(
            f"{what}: {(~(excess <= 0)).sum()} of {excess.size} out of bounds; at {at} "
            f"{got[at]!r}, not {wanted[at]!r} ± {wide:.3g}"
        )


def check_everywhere(
    record: Callable[[], Sequence[Op]],
    n_tokens: int,
    *,
    config: Config | None = None,
    isas: Sequence[str] = ISAS,
    threads: Sequence[int] = THREADS,
    sizes: Sequence[int] = (),
) -> np.ndarray:
    """The last value on the plainest instruction set and one thread, after checking that all
    instruction sets, numbers of threads and steps of fewer tokens (sizes) give the same bits."""
    ops = record()
    plain = Runner(cpu_device(), ops, n_tokens, config=config)(n_tokens)
    for isa in isas:
        for n_threads in threads if isa != ISAS[0] else threads[-1:]:  # the plainest is slow
            runner = Runner(cpu_device(isa, n_threads), ops, n_tokens, config=config)
            for n in (*sizes, n_tokens):
                assert_same_bits(runner(n), plain[:n], f"{isa}, {n_threads} threads, {n} tokens")
    return plain
