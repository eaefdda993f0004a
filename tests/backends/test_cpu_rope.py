"""rope_table, rope and rope_kv_write on the CPU device."""

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
    cpu_device,
    make_step,
    reference_device,
)

from small_config import make_config
from smelt.backends.base import Step
from smelt.graph import fusion

POSITIONS = np.array([0, 1, 2, 31, 32, 100, 4095, 131_071])


def frequencies(rotary_dim: int) -> np.ndarray:
    return 10000.0 ** (-np.arange(0, rotary_dim, 2) / rotary_dim)


def step_at(positions: np.ndarray) -> Step:
    """A step of one token a sequence, so that any positions may stand side by side."""
    n = len(positions)
    pages = int(positions.max()) // 32 + 1
    return make_step(n, positions, np.arange(n), np.zeros((n, pages), np.int32))


@pytest.mark.parametrize("scale", [1.0, 1.138])
@pytest.mark.parametrize("rotary_dim", [2, 20, 64])
def test_angles_are_exact_at_every_position(rotary_dim: int, scale: float) -> None:
    """Two roundings of cos and sin: 131,071 as a float32 angle would be off by 0.004."""
    feed = Feed()
    feed.rope_table("table", as_weight("inv_freq", frequencies(rotary_dim)), scale)
    exact = Runner(reference_device(), feed.ops, len(POSITIONS))(step_at(POSITIONS))
    exact = exact.reshape(len(POSITIONS), -1)
    plain = Runner(cpu_device(), feed.ops, len(POSITIONS))(step_at(POSITIONS))
    assert_within(plain, exact, 3 * ULP * np.abs(exact) + 1e-12)
    for isa in ISAS:
        y = Runner(cpu_device(isa, 3), feed.ops, len(POSITIONS))(step_at(POSITIONS))
        assert_same_bits(y, plain, isa)


@pytest.mark.parametrize("neox", [False, True])
@pytest.mark.parametrize(
    ("n_heads", "head_dim", "rotary_dim"), [(1, 2, 2), (3, 20, 20), (4, 64, 64), (2, 64, 24)]
)
def test_rope_turns_pairs(n_heads: int, head_dim: int, rotary_dim: int, neox: bool) -> None:
    """y = a cos - b sin: the table's roundings, a product's and the sum's, of |a| + |b|."""
    rng = np.random.default_rng(0)
    n = len(POSITIONS)
    x = rng.standard_normal((n, n_heads, head_dim)).astype(np.float32)
    feed = Feed()
    table = feed.rope_table("table", as_weight("inv_freq", frequencies(rotary_dim)), 1.25)
    feed.rope("y", feed.rows("x", x), table, neox)
    plain = Runner(cpu_device(), feed.ops, n)(step_at(POSITIONS)).reshape(x.shape)
    exact = Runner(reference_device(), feed.ops, n)(step_at(POSITIONS))
    largest = np.abs(x).max(axis=-1, keepdims=True) * 2 * 1.25
    assert_within(plain, exact, 4 * ULP * largest)
    assert_same_bits(plain[..., rotary_dim:], x[..., rotary_dim:])
    turned = plain[..., :rotary_dim].astype(np.float64)
    lengths = np.linalg.norm(x[..., :rotary_dim].astype(np.float64), axis=-1) * 1.25
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), lengths, rtol=1e-6)
    for isa in ISAS:
        for threads in (1, 3):
            y = Runner(cpu_device(isa, threads), feed.ops, n)(step_at(POSITIONS))
            assert_same_bits(y.reshape(x.shape), plain, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
@pytest.mark.parametrize("neox", [False, True])
@pytest.mark.parametrize("head_norms", [False, True])
def test_rope_kv_write_is_the_plain_ops_it_stands_for(
    isa: str, kv_type: str, neox: bool, head_norms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, as plain attention sees it: turned queries, keys and values in their pages."""
    monkeypatch.setattr(fusion, "RULES", (fusion._rope_kv_write,))
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((40, n, 24)).astype(np.float32) for n in (4, 2, 2))
    config = make_config(4, 2, 24)
    feed = Feed(config, 64)
    with feed.layer(0):
        table = feed.rope_table("table", as_weight("inv_freq", frequencies(16)), 1.0)
        values = [feed.rows(name, x) for name, x in (("q", q), ("k", k), ("v", v))]
        if head_norms:
            for i, gain in enumerate(rng.uniform(-2, 2, (2, 24)).astype(np.float32)):
                values[i] = feed.rms_norm("norm", values[i], as_weight("gain", gain), 1e-5)
        q_turned = feed.rope("q_rope", values[0], table, neox)
        k_turned = feed.rope("k_rope", values[1], table, neox)
        feed.attention("", q_turned, k_turned, values[2], 0.2, config.n_kv_heads)

    def run(fused: bool, threads: int) -> tuple[set[str], np.ndarray]:
        runner = Runner(
            cpu_device(isa, threads), feed.ops, 40, config=config, kv_type=kv_type, fused=fused
        )
        return {op.kind for op in runner.program.ops}, runner(40)

    kinds, plain = run(False, 1)
    assert {"rope", "kv_write"} <= kinds
    for threads in (1, 2, 3):
        kinds, y = run(True, threads)
        assert "rope_kv_write" in kinds and not {"rms_norm", "rope", "kv_write"} & kinds
        assert_same_bits(y, plain, f"{threads} threads")
