"""embed, select, rms_norm, layer_norm, mul and add on the CPU device."""

from __future__ import annotations

import numpy as np
import pytest
from harness import (
    ISAS,
    ULP,
    Feed,
    Runner,
    as_weight,
    assert_same_bits,
    assert_within,
    check_everywhere,
    cpu_device,
    make_step,
    reference_device,
)

from random_weights import random_weights
from smelt.backends.base import Step
from smelt.formats import FORMATS
from smelt.graph.ops import Op, Weight

SIZES = (1, 15, 16, 17, 31, 33, 257)  # elements a row


def random_rows(n_tokens: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-8, 9, (n_tokens, width))
    return (rng.standard_normal((n_tokens, width)) * scale).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
def test_embed_decodes_the_rows_of_the_tokens(format: str, isa: str) -> None:
    rng = np.random.default_rng(5)
    n_in = 3 * FORMATS[format].block_weights
    blocks = random_weights(rng, format, 37, n_in, 1.0)
    table = Weight("table", (37, n_in), format, blocks.reshape(-1))
    feed = Feed()
    feed.embed("x", table)
    step = make_step(9)
    tokens = rng.integers(0, 37, 9, dtype=np.int32)
    tokens[:2] = 36, 0
    step = Step(tokens, step.positions, step.sequences, step.page_table, step.logit_rows)
    x = Runner(cpu_device(isa, 2), feed.ops, 9)(step)
    assert_same_bits(x, FORMATS[format].decode(blocks)[tokens])


@pytest.mark.parametrize("rows", [[0], [12], [12, 0, 5], list(range(13)), [3, 3]])
def test_select_takes_the_rows_whose_logits_are_wanted(rows: list[int]) -> None:
    x = random_rows(13, 33)
    feed = Feed()
    feed.select("y", feed.rows("x", x))
    whole = make_step(13)
    wanted = np.array(rows, np.int32)
    step = Step(whole.token_ids, whole.positions, whole.sequences, whole.page_table, wanted)
    for threads in (1, 3):
        assert_same_bits(Runner(cpu_device(threads=threads), feed.ops, 13)(step), x[rows])


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_rms_norm(width: int, eps: float) -> None:
    """Relative error: half of that of a sum over width / 16 terms a lane, and a few roundings."""
    x = random_rows(13, width)
    x[1], x[2] = 0.0, 1e-20
    gain = np.random.default_rng(1).uniform(-2, 2, width).astype(np.float32)

    def record() -> list[Op]:
        feed = Feed()
        feed.rms_norm("y", feed.rows("x", x), as_weight("gain", gain), eps)
        return feed.ops

    y = check_everywhere(record, 13, sizes=(1, 2, 7))
    wide = x.astype(np.float64)
    exact = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + np.float32(eps)) * gain
    assert_within(y, exact, (width / 32 + 8) * ULP * np.abs(exact))


@pytest.mark.parametrize(("n_heads", "head_dim"), [(1, 1), (3, 20), (4, 128), (7, 33)])
def test_rms_norm_of_heads(n_heads: int, head_dim: int) -> None:
    """A gain as long as a head: every head is a row of its own."""
    x = random_rows(13, n_heads * head_dim).reshape(13, n_heads, head_dim)
    x[:, 0] *= 100
    gain = np.random.default_rng(1).uniform(-2, 2, head_dim).astype(np.float32)

    def record() -> list[Op]:
        feed = Feed()
        feed.rms_norm("y", feed.rows("x", x), as_weight("gain", gain), 1e-6)
        return feed.ops

    y = check_everywhere(record, 13, sizes=(1, 2, 7)).reshape(x.shape)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + np.float32(1e-6)) * gain
    assert_within(y, exact, (head_dim / 32 + 8) * ULP * np.abs(exact))
    np.testing.assert_allclose(
        Runner(reference_device(), record(), 13)(13).reshape(x.shape), exact, rtol=1e-6
    )


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("eps", [1e-5, 1e-12])
@pytest.mark.parametrize("has_bias", [False, True])
def test_layer_norm(width: int, eps: float, has_bias: bool) -> None:
    """The mean is off by the roundings of a sum over width / 16 terms a lane, of |x|'s mean, which
    shifts every element, and each difference rounds once: delta. The deviation moves by no more
    than they do; what is of second order is within the tenth. Then relative errors, half of a
    sum's and a few roundings, and the bias's one."""
    x = random_rows(13, width) + np.float32(3)
    x[1], x[2], x[3] = 0.0, 1e-20, 7.0
    rng = np.random.default_rng(1)
    gain, bias = rng.uniform(-2, 2, (2, width)).astype(np.float32)
    b = as_weight("bias", bias) if has_bias else None

    def record() -> list[Op]:
        feed = Feed()
        feed.layer_norm("y", feed.rows("x", x), as_weight("gain", gain), b, eps)
        return feed.ops

    y = check_everywhere(record, 13, sizes=(1, 2, 7))
    wide = x.astype(np.float64)
    apart = wide - wide.mean(axis=1, keepdims=True)
    deviation = np.sqrt((apart**2).mean(axis=1, keepdims=True) + np.float32(eps))
    scaled = apart / deviation * gain
    delta = (width / 16 + 6) * ULP * np.abs(wide).mean(axis=1, keepdims=True) + ULP * np.abs(apart)
    most = delta.max(axis=1, keepdims=True) / deviation
    bound = most * (np.abs(gain) + np.abs(scaled)) * 1.1 + (width / 32 + 8) * ULP * np.abs(scaled)
    exact = scaled + bias if has_bias else scaled
    assert_within(y, exact, bound + has_bias * ULP * np.abs(exact))


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("kind", ["mul", "add"])
def test_mul_and_add_round_once(kind: str, width: int) -> None:
    a, b = random_rows(13, width), random_rows(13, width, 1)

    def record() -> list[Op]:
        feed = Feed()
        getattr(feed, kind)("y", feed.rows("a", a), feed.rows("b", b))
        return feed.ops

    y = check_everywhere(record, 13, sizes=(1, 2, 7))
    assert_same_bits(y, a * b if kind == "mul" else a + b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["rms_norm", "layer_norm", "mul", "add"])
def test_nan_and_infinity_are_not_hidden(kind: str, isa: str) -> None:
    """A NaN comes out as one, and an infinity as no plausible number: where it stood, at least."""
    x, ones = np.ones((3, 33), np.float32), np.ones((3, 33), np.float32)
    feed = Feed()
    x[0, 5], x[1, 32], x[2, 0] = np.nan, np.inf, -np.nan
    a = feed.rows("x", x)
    if kind == "rms_norm":
        feed.rms_norm("y", a, as_weight("gain", ones[0]), 1e-5)
    elif kind == "layer_norm":
        feed.layer_norm("y", a, as_weight("gain", ones[0]), None, 1e-5)
    else:
        getattr(feed, kind)("y", a, feed.rows("ones", ones))
    y = Runner(cpu_device(isa), feed.ops, 3)(3)
    assert np.isnan(y[0, 5]) and np.isnan(y[2, 0]) and not np.isfinite(y[1, 32])
    if not kind.endswith("norm"):
        assert np.isfinite(np.delete(y[0], 5)).all()


@pytest.mark.parametrize("kind", ["rms_norm", "layer_norm", "mul", "add"])
def test_reference_device_agrees(kind: str) -> None:
    """The oracle itself, beside formulas written here a second time."""
    x, other = random_rows(5, 31), random_rows(5, 31, 1)
    feed = Feed()
    a, b = feed.rows("a", x), feed.rows("b", other)
    wide = x.astype(np.float64)
    if kind == "rms_norm":
        feed.rms_norm("y", a, as_weight("gain", other[0]), 1e-5)
        exact = wide / np.sqrt(np.mean(wide**2, axis=1, keepdims=True) + 1e-5) * other[0]
    elif kind == "layer_norm":
        feed.layer_norm("y", a, as_weight("gain", other[0]), as_weight("bias", other[1]), 1e-5)
        exact = (wide.T - wide.mean(axis=1)) / np.sqrt(wide.var(axis=1) + 1e-5)
        exact = exact.T * other[0] + other[1]
    else:
        getattr(feed, kind)("y", a, b)
        exact = wide * other if kind == "mul" else wide + other
    y = Runner(reference_device(), feed.ops, 5)(5)
    np.testing.assert_allclose(y, exact, rtol=1e-13, atol=1e-280)
