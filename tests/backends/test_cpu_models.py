"""Whole small models: fused beside plain beside the reference, and the same bits however it is run.

Tolerances, as ‖a - b‖ / ‖b‖ of the logits. Float weights: some hundred float32 roundings a value,
1e-5. Quantised weights: an activation is rounded to 1 / 4,094 of its block's largest, which is
about three times its root mean square, so each of the up to six matmuls on a path adds about
4e-4 and 3e-3 is far out; attention's float32 differences may turn a rounding, hence fused and plain
are no closer to each other than to the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import ISAS, assert_same_bits, cpu_device, make_step, reference_device

from smelt.backends.base import Device
from smelt.formats import FORMATS
from smelt.model import Model
from tiny_model import write_tiny_llama

N = 37  # tokens: two pages
TOKENS = np.random.default_rng(7).integers(3, 300, N).astype(np.int32)
FLOATS = ("f32", "f16", "bf16")

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tied": True},
    "biases": {"biases": True},
    "rope_freqs": {"rope_freqs": True},
    "linear": {"rope_scaling": "linear"},
    "yarn": {"rope_scaling": "yarn"},
    "yarn and factors": {"rope_scaling": "yarn", "rope_freqs": True, "n_ctx": 64},
    "wide heads": {"head_dim": 128},
    "narrow heads": {"n_heads": 16, "n_kv_heads": 8},
    "partly turned": {"rotary_dim": 24},
    "one layer": {"n_layers": 1},
    "three layers": {"n_layers": 3, "biases": True, "tied": True},
    "odd vocabulary": {"n_vocab": 301},
    "qwen2": {"architecture": "qwen2", "n_kv_heads": 1},
    "qwen3": {"architecture": "qwen3", "tied": True, "head_dim": 128},
}
# dimensions that no K-quant can have, nor a vector divide
ODD = {"d_model": 96, "n_heads": 8, "n_kv_heads": 1, "head_dim": 20, "d_ff": 160, "n_vocab": 301}


def write(folder: Path, format: str, **options: Any) -> Model:
    return Model(write_tiny_llama(folder / "model.gguf", format, **options))


def logits(device: Device, model: Model, *, fused: bool = True, kv_type: str = "f32") -> np.ndarray:
    pool = device.create_pool(model.config, kv_type)
    pool.grow(2)
    step = make_step(N)
    step.token_ids[:] = TOKENS
    return device.load(model.program(64, N, fused=fused)).run(pool, step)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def check(model: Model, format: str, isas: Sequence[str] = ISAS) -> None:
    tolerance = 1e-5 if format in FLOATS else 3e-3
    exact = logits(reference_device(), model)
    assert 1 < exact.std() < 10 and np.isfinite(exact).all()
    fused, plain = (logits(cpu_device(isas[0]), model, fused=fused) for fused in (True, False))
    assert error(fused, exact) < tolerance
    assert error(plain, exact) < tolerance
    assert error(fused, plain) < tolerance
    for isa in isas[1:]:
        assert_same_bits(logits(cpu_device(isa, 2), model), fused, isa)
        assert_same_bits(logits(cpu_device(isa, 2), model, fused=False), plain, isa)


@pytest.mark.parametrize("format", ["f32", "q4_k"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, format: str, tmp_path: Path) -> None:
    isas = ISAS if format == "q4_k" else ISAS[-1:]  # scalar float products are slow
    check(write(tmp_path, format, **VARIANTS[variant]), format, isas)


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str, tmp_path: Path) -> None:
    check(write(tmp_path, format), format)


@pytest.mark.parametrize("format", ["f16", "q5_1", "iq4_nl"])
def test_odd_dimensions(format: str, tmp_path: Path) -> None:
    check(write(tmp_path, format, **ODD), format)


def test_mixed_formats(tmp_path: Path) -> None:
    formats = {"attn_v": "q6_k", "ffn_down": "q8_0", "output": "f16", "attn_k": "iq4_nl"}
    check(write(tmp_path, "q4_k", formats=formats), "q4_k")


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_variants_differ(kv_type: str, tmp_path: Path) -> None:
    """Every option of the file reaches the logits: none is silently ignored."""
    seen: dict[bytes, str] = {}
    for variant in ("plain", "biases", "rope_freqs", "linear", "yarn", "partly turned"):
        model = write(tmp_path, "f32", **VARIANTS[variant])
        bits = logits(cpu_device(ISAS[-1]), model, kv_type=kv_type).tobytes()
        assert bits not in seen, (variant, seen[bits])
        seen[bits] = variant
