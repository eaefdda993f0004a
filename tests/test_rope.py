"""Rotary frequencies against a slow implementation, and against what llama.cpp does with a file.

The slow one is written pair by pair and position by position from ggml's rope_yarn and
ggml_rope_yarn_corr_dims (ggml-cpu/ops.cpp, ggml.c), whose ramp between two pairs is that of the
YaRN authors' own code; the paper's equation 17 has its ramp in turns instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small_config import make_config, metadata_of, shapes_of
from smelt.config import Config, RopeScaling, infer_config
from smelt.errors import SmeltError
from smelt.graph.ops import Weight
from smelt.rope import rotary_frequencies

PLAIN = make_config(head_dim=64, n_ctx=4096)
POSITIONS = [0, 1, 2, 31, 1000, 4095, 131071]


def weight(factors: Sequence[float]) -> Weight:
    data = np.array(factors, "<f4").view(np.uint8)
    return Weight("rope_freqs.weight", (len(factors),), "f32", data)


def slow_table(
    position: int,
    n: int,
    base: float,
    *,
    freq_scale: float = 1.0,
    ext_factor: float = 0.0,
    magnitude: float = 1.0,
    original_n_ctx: int = 0,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    factors: Sequence[float] | None = None,
) -> list[tuple[float, float]]:
    """(angle, scale of cos and sin) of every pair at a position."""
    if ext_factor != 0.0:
        turns = {}
        for beta in (beta_fast, beta_slow):
            wavelength_ratio = original_n_ctx / (beta * 2 * math.pi)
            turns[beta] = n * math.log(wavelength_ratio) / (2 * math.log(base))
        first = max(0, math.floor(turns[beta_fast]))
        last = min(n - 1, math.ceil(turns[beta_slow]))
        magnitude *= 1.0 + 0.1 * math.log(1.0 / freq_scale)
    table = []
    for pair in range(n // 2):
        extrapolated = position * base ** (-2.0 * pair / n)
        if factors is not None:
            extrapolated /= factors[pair]
        interpolated = freq_scale * extrapolated
        angle = interpolated
        if ext_factor != 0.0:
            ramp = (pair - first) / max(0.001, last - first)
            mix = (1.0 - min(1.0, max(0.0, ramp))) * ext_factor
            angle = interpolated * (1.0 - mix) + extrapolated * mix
        table.append((angle, magnitude))
    return table


def assert_same(config: Config, factors: Sequence[float] | None, **slow: Any) -> None:
    inv_freq, scale = rotary_frequencies(config, weight(factors) if factors else None)
    assert inv_freq.format == "f64" and inv_freq.data.dtype == np.float64
    assert inv_freq.shape == (config.rotary_dim // 2,)
    for position in POSITIONS:
        expected = slow_table(
            position, config.rotary_dim, config.rope_base, factors=factors, **slow
        )
        np.testing.assert_allclose(
            position * inv_freq.data, [angle for angle, _ in expected], rtol=1e-12
        )
        np.testing.assert_allclose(scale, [s for _, s in expected], rtol=1e-12)


def some_factors(n: int) -> list[float]:
    """Like Llama 3.1's: 1 for the fast pairs, rising to 8; exact in float32."""
    return [1.0 + min(7.0, max(0.0, pair - n // 4)) for pair in range(n // 2)]


@pytest.mark.parametrize("with_factors", [False, True])
@pytest.mark.parametrize("base", [10000.0, 500000.0, 1e8, 2.0])
@pytest.mark.parametrize("n", [2, 16, 64, 80, 128])
def test_plain(n: int, base: float, with_factors: bool) -> None:
    config = replace(PLAIN, rotary_dim=n, head_dim=max(n, 128), rope_base=base)
    assert_same(config, some_factors(n) if with_factors else None)


@pytest.mark.parametrize("with_factors", [False, True])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 7.5])
def test_linear(factor: float, with_factors: bool) -> None:
    config = replace(PLAIN, rope_scaling=RopeScaling(type="linear", factor=factor))
    assert_same(config, some_factors(64) if with_factors else None, freq_scale=1 / factor)


@pytest.mark.parametrize("with_factors", [False, True])
@pytest.mark.parametrize(
    ("n", "base", "factor", "original", "ext", "attn", "betas"),
    [
        (64, 10000.0, 2.0, 4096, 1.0, 1.0, (32.0, 1.0)),
        (128, 10000.0, 16.0, 4096, 1.0, 1.0, (32.0, 1.0)),
        (128, 1e6, 4.0, 32768, 1.0, 1.0, (32.0, 1.0)),
        (128, 1e6, 4.0, 32768, 0.5, 1.0, (32.0, 1.0)),
        (128, 1e6, 4.0, 32768, 0.0, 1.25, (32.0, 1.0)),
        (64, 150000.0, 32.0, 4096, 1.0, 0.9, (32.0, 1.0)),
        (64, 10000.0, 4.0, 2048, 1.0, 1.0, (8.0, 2.0)),
        (64, 10000.0, 4.0, 2048, 1.0, 1.0, (1.0, 1.0)),  # the ramp is a step
        (64, 10000.0, 4.0, 8, 1.0, 1.0, (32.0, 1.0)),  # no pair turns 32 times: first below 0
        (16, 10000.0, 4.0, 10**9, 1.0, 1.0, (32.0, 1.0)),  # every pair does: last is cut off
        (64, 10000.0, 1.0, 4096, 1.0, 1.0, (32.0, 1.0)),
        (16, 10000.0, 4.0, 262144, 1.0, 1.0, (32.0, 1.0)),  # the ramp ends beyond the last pair
        (2, 10000.0, 4.0, 4096, 1.0, 1.0, (32.0, 1.0)),
    ],
)
def test_yarn(
    n: int,
    base: float,
    factor: float,
    original: int,
    ext: float,
    attn: float,
    betas: tuple[float, float],
    with_factors: bool,
) -> None:
    scaling = RopeScaling(
        type="yarn",
        factor=factor,
        original_n_ctx=original,
        ext_factor=ext,
        attn_factor=attn,
        beta_fast=betas[0],
        beta_slow=betas[1],
    )
    config = replace(PLAIN, rotary_dim=n, head_dim=n, rope_base=base, rope_scaling=scaling)
    assert_same(
        config,
        some_factors(n) if with_factors else None,
        freq_scale=1 / factor,
        ext_factor=ext,
        magnitude=attn,
        original_n_ctx=original,
        beta_fast=betas[0],
        beta_slow=betas[1],
    )


def test_yarn_as_the_paper_has_it() -> None:
    """Pairs that turn more than 32 times in the old context keep their frequency, those that turn
    less than once are interpolated, and none is stretched beyond both; temperature as in eq. 22."""
    scaling = RopeScaling(type="yarn", factor=8.0, original_n_ctx=4096)
    config = replace(PLAIN, rotary_dim=128, head_dim=128, rope_scaling=scaling)
    plain, _ = rotary_frequencies(replace(config, rope_scaling=RopeScaling()))
    yarn, scale = rotary_frequencies(config)
    turns = 4096 * plain.data / (2 * np.pi)
    ratio = yarn.data / plain.data
    whole = slice(1, None)  # the authors' ramp begins and ends at whole pairs
    assert np.all(ratio[turns > 32] == pytest.approx(1.0))
    assert np.all(ratio[turns < 1][whole] == pytest.approx(1 / 8))
    assert np.all(np.diff(ratio) <= 1e-12) and ratio.min() >= 1 / 8 - 1e-12
    assert scale == pytest.approx(0.1 * math.log(8.0) + 1.0)


# --- a whole file, as llama.cpp reads it


SHAPES = shapes_of(kv_dim=64, n_layers=1)


def rope_metadata(values: dict[str, Any]) -> dict[str, Any]:
    """Of a file with one head, whose rope keys say `values`."""
    fixed = metadata_of(attention__head_count=1, context_length=8192, rope__freq_base=500000.0)
    return fixed | {f"llama.rope.{key}": value for key, value in values.items()}


def llama_cpp_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """What llama.cpp passes to rope_ext for a file of architecture llama: llama_model's
    load_hparams, and llama_context's constructor as it is since pull request 17945.

    It takes a file without a type as "linear", and a factor of 0 as 1. With YaRN the context's
    attention factor is made to cancel rope_yarn's own magnitude where the factor is below 1.
    """
    kind = values.get("scaling.type", "linear")
    factor = values.get("scaling.factor", values.get("scale_linear", 0.0)) or 1.0
    if kind == "none":
        factor = 1.0
    arguments = {"freq_scale": 1 / factor, "magnitude": values.get("scaling.attn_factor", 1.0)}
    if kind == "yarn":
        wanted = 0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0
        arguments["magnitude"] *= wanted / (1.0 + 0.1 * math.log(factor))
        original = values.get("scaling.original_context_length", 0)
        arguments |= {"ext_factor": 1.0, "original_n_ctx": original or 8192}
    return arguments


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"scaling.type": "none"},
        {"scaling.type": "none", "scaling.factor": 4.0},
        {"scaling.type": "linear", "scaling.factor": 4.0},
        {"scale_linear": 4.0},
        {"scaling.type": "linear", "scale_linear": 4.0},
        {"scaling.type": "linear", "scaling.factor": 4.0, "scale_linear": 2.0},
        {"scaling.factor": 4.0},
        {"scaling.type": "linear", "scaling.factor": 0.0},
        {"scaling.type": "none", "scale_linear": 4.0},
        {"scaling.type": "yarn", "scaling.factor": 4.0},
        {
            "scaling.type": "yarn",
            "scaling.factor": 16.0,
            "scaling.original_context_length": 4096,
        },
        {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 0},
        {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.attn_factor": 0.75},
        {"scaling.type": "yarn", "scaling.factor": 0.5},
        {"scaling.type": "yarn", "scale_linear": 4.0},
        {"scaling.type": "yarn"},
        {"scaling.type": "linear", "scaling.factor": 4.0, "scaling.attn_factor": 0.75},
    ],
    ids=lambda values: ",".join(f"{key}={value}" for key, value in values.items()) or "silent",
)
def test_as_llama_cpp_reads_the_file(values: dict[str, Any]) -> None:
    config = infer_config(rope_metadata(values), SHAPES)
    assert_same(config, None, **llama_cpp_arguments(values))


@settings(deadline=None, max_examples=300)
@given(
    base=st.floats(1e-300, 1e300) | st.sampled_from([1.0, 10000.0]),
    values=st.fixed_dictionaries(
        {"scaling.type": st.sampled_from(["none", "linear", "yarn"])},
        optional={
            "scaling.factor": st.floats(),
            "scaling.original_context_length": st.integers(-(2**63), 2**64 - 1),
            "scaling.attn_factor": st.floats(),
            "scaling.yarn_attn_factor": st.floats(),
            "scaling.yarn_ext_factor": st.floats(),
            "scaling.yarn_beta_fast": st.floats(),
            "scaling.yarn_beta_slow": st.floats(),
        },
    ),
)
@example(base=1.0, values={"scaling.type": "yarn", "scaling.factor": 4.0})
@example(base=1e4, values={"scaling.type": "yarn", "scaling.original_context_length": 0})
@example(base=1e4, values={"scaling.type": "yarn", "scaling.yarn_beta_fast": 1e308})
@example(base=1e4, values={"scaling.type": "linear", "scaling.factor": 5e-324})
def test_hostile_scaling(base: float, values: dict[str, Any]) -> None:
    """Whatever a file says: finite frequencies, or an error of ours."""
    try:
        config = infer_config(rope_metadata(values | {"freq_base": base}), SHAPES)
        with np.errstate(all="ignore"):
            inv_freq, scale = rotary_frequencies(config)
    except SmeltError:
        return
    assert np.isfinite(inv_freq.data).all() and math.isfinite(scale)
