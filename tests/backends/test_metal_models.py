"""Whole small models on the Metal device: fused beside plain beside the reference, value by value,
and the same bits whoever shares the batch.

Tolerances, as ‖a - b‖ / ‖b‖. Weights are decoded exactly and everything else is float32: some
hundred roundings of 2^-24 a value, in sums that grow like the square root of their number: 1e-5,
whatever the format. A cache in half precision rounds every key and value by 2^-12: 2e-3.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import assert_same_bits, make_step, metal_device, reference_device
from test_cpu_models import ODD, TOKENS, VARIANTS, N, error, logits, write

from smelt.backends.base import PAGE_TOKENS, Device, Step
from smelt.formats import FORMATS
from smelt.model import Model

FLOAT_ERROR = 1e-5
HALF_CACHE_ERROR = 2e-3


def check(model: Model) -> None:
    device, exact = metal_device(), logits(reference_device(), model)
    fused, plain = (logits(device, model, fused=fused) for fused in (True, False))
    assert error(fused, exact) < FLOAT_ERROR
    assert error(plain, exact) < FLOAT_ERROR
    assert error(fused, plain) < FLOAT_ERROR
    assert error(logits(device, model, kv_type="f16"), exact) < HALF_CACHE_ERROR
    decoded = one_by_one(device, model)
    assert error(decoded, exact) < FLOAT_ERROR


def one_by_one(device: Device, model: Model, n: int = 5) -> np.ndarray:
    """The logits of N tokens, in one chunk but for the last n: those as a chat makes them."""
    pool = device.create_pool(model.config, "f32")
    pool.grow(2)
    loaded = device.load(model.program(64, N))
    chunks = [(0, N - n), *((i, i + 1) for i in range(N - n, N))]
    return np.concatenate([loaded.run(pool, part(*chunk)) for chunk in chunks])


def part(first: int, end: int) -> Step:
    """Tokens first to end of the N, as one sequence."""
    step = make_step(end - first, range(first, end), page_table=np.arange(2)[None])
    step.token_ids[:] = TOKENS[first:end]
    return step


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, tmp_path: Path) -> None:
    check(write(tmp_path, "q4_k", **VARIANTS[variant]))


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str, tmp_path: Path) -> None:
    check(write(tmp_path, format))


@pytest.mark.parametrize("format", ["f32", "f16", "q5_1"])
def test_odd_dimensions(format: str, tmp_path: Path) -> None:
    check(write(tmp_path, format, **ODD))


def test_mixed_formats(tmp_path: Path) -> None:
    formats = {"attn_v": "q6_k", "ffn_down": "q8_0", "output": "f16", "attn_k": "iq4_nl"}
    check(write(tmp_path, "q4_k", formats=formats))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 33])
@pytest.mark.parametrize("fused", [True, False])
def test_every_value(n: int, fused: bool, tmp_path: Path) -> None:
    """Op by op: with rows for every kernel that multiplies, and one or several tiles."""
    model = write(tmp_path, "q4_k", biases=True, formats={"attn_v": "q6_k"})
    program = model.program(64, n, fused=fused, reuse=False)
    results = []
    for device in (metal_device(), reference_device()):
        pool = device.create_pool(model.config, "f32")
        pool.grow(2)
        loaded = device.load(program)
        loaded.run(pool, part(0, n))
        values = [v for v in program.values[:-1] if "kq" not in v.name or not fused]
        results.append([(v.name, loaded.read(v, n).copy()) for v in values])
    for (name, got), (_, wanted) in zip(*results, strict=True):
        assert error(got, wanted) < FLOAT_ERROR, name


def run_batch(device: Device, model: Model, members: list[int], n_pages: int) -> np.ndarray:
    """Some sequences, each of its own length, decode a token together: logits [members, vocab]."""
    pool = device.create_pool(model.config, "f16")
    pool.grow(n_pages * 8)
    loaded = device.load(model.program(n_pages * PAGE_TOKENS, 64))
    table = np.arange(8 * n_pages, dtype=np.int32).reshape(8, n_pages)
    rng = np.random.default_rng(3)
    lengths = [1, 40, 3, 70, 11, 95, 33, 64]
    prompts = [rng.integers(3, 300, length + 1).astype(np.int32) for length in lengths]
    for i in members:
        for at in range(0, lengths[i], 64):
            chunk = prompts[i][at : min(at + 64, lengths[i])]
            step = make_step(len(chunk), range(at, at + len(chunk)), page_table=table[i : i + 1])
            loaded.run(pool, replace(step, token_ids=chunk.copy(), logit_rows=step.logit_rows[:0]))
    last = [prompts[i][-1] for i in members]
    step = make_step(
        len(members), [lengths[i] for i in members], range(len(members)), table[members]
    )
    return loaded.run(pool, replace(step, token_ids=np.array(last, np.int32)))


def test_a_token_s_bits_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = write(tmp_path, "q5_k", formats={"attn_v": "q8_0"})
    device = metal_device()
    together = run_batch(device, model, list(range(8)), 4)
    for members in ([0], [3], [5, 1], [7, 2, 4]):
        assert_same_bits(run_batch(device, model, members, 4), together[members], members)


@pytest.mark.parametrize("options", [{}, {"n_heads": 8, "n_kv_heads": 1, "head_dim": 32}])
def test_long_contexts_are_split_and_joined(options: dict[str, Any], tmp_path: Path) -> None:
    """Beyond 512 positions attention is split over threadgroups; a short sequence beside a long one
    keeps its bits."""
    model = write(tmp_path, "q8_0", n_layers=1, n_ctx=1200, n_vocab=301, **options)
    n = 1100
    tokens = np.random.default_rng(1).integers(3, 300, n).astype(np.int32)
    results = []
    for device in (metal_device(), reference_device()):
        pool = device.create_pool(model.config, "f32")
        pool.grow(37)
        loaded = device.load(model.program(1200, 256, 4))
        table = np.array([range(36), [36, *[0] * 35]], np.int32)
        for at in range(0, n - 1, 256):
            end = min(at + 256, n - 1)
            step = make_step(end - at, range(at, end), page_table=table[:1])
            loaded.run(
                pool, replace(step, token_ids=tokens[at:end].copy(), logit_rows=step.logit_rows[:0])
            )
        both = make_step(2, [n - 1, 0], [0, 1], table)
        both = replace(both, token_ids=np.array([tokens[-1], 5], np.int32))
        joint = loaded.run(pool, both)
        alone = make_step(1, page_table=table[1:])
        alone = loaded.run(pool, replace(alone, token_ids=np.array([5], np.int32)))
        results.append(joint)
        if device.name == "metal":
            assert_same_bits(joint[1:], alone)
    assert error(*results) < FLOAT_ERROR
