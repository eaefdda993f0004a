"""Every rule of graph/fusion.py: the fused op beside the plain ops it stands for.

A fused op does the same arithmetic in the same order, so on the CPU the results are the same bits;
only attention, which meets its pages one after the other instead of all scores first, is compared
within a tolerance (see test_cpu_attention.py, where both are held to one bound).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from harness import ISAS, Feed, Runner, as_weight, assert_same_bits, cpu_device, make_step

from random_weights import random_weights
from smelt import _cpu
from smelt.formats import FORMATS
from smelt.graph.ops import Value, Weight
from smelt.graph.program import build, tables

D = 512
N = 9
MIXED = [(name,) * 3 for name in FORMATS] + [
    ("q4_k", "q4_k", "q6_k"),  # Q4_K_M: values in more bits
    ("q8_0", "q4_k", "f16"),  # three forms of the activations at once
    ("f32", "iq4_nl", "bf16"),
]


class Block(Feed):
    """Rows of a residual stream, and weights made up as they are asked for."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.x = self.rows("x", self.rng.standard_normal((N, D)).astype(np.float32))

    def vector(self, n: int) -> Weight:
        return as_weight("vector", self.rng.uniform(-1, 1, n).astype(np.float32))

    def linear(self, x: Value, n_out: int, format: str, bias: bool) -> Value:
        blocks = random_weights(self.rng, format, n_out, x.width, x.width**-0.5)
        weight = Weight("w", (n_out, x.width), format, blocks.reshape(-1))
        return self.matmul("y", x, weight, self.vector(n_out) if bias else None)

    def join(self, values: list[Value]) -> None:
        """One result that shows every bit of several values of one width."""
        for value in values[1:]:
            values[0] = self.add("join", values[0], value)


def norm_matmul(formats: tuple[str, ...], bias: bool) -> Block:
    block = Block()
    h = block.rms_norm("h", block.x, block.vector(D), 1e-5)
    block.join([block.linear(h, 33, format, bias) for format in formats])
    return block


def norm_gate_up(formats: tuple[str, ...], bias: bool, act: str = "silu") -> Block:
    block = Block()
    h = block.rms_norm("h", block.x, block.vector(D), 1e-5)
    gate, up = (block.linear(h, 257, f, bias) for f in formats[:2])
    block.mul("y", getattr(block, act)("act", gate), up)
    return block


def matmul_add(formats: tuple[str, ...], bias: bool) -> Block:
    block = Block()
    h = block.rows("h", block.rng.standard_normal((N, 256)).astype(np.float32))
    block.add("y", block.x, block.linear(h, D, formats[0], bias))
    return block


RULES: dict[str, Callable[[tuple[str, ...], bool], Block]] = {  # the first word: the fused op
    "norm_matmul": norm_matmul,
    "norm_gate_up of silu": norm_gate_up,
    "norm_gate_up of gelu": partial(norm_gate_up, act="gelu"),
    "matmul_add": matmul_add,
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("formats", MIXED, ids="-".join)
@pytest.mark.parametrize("rule", RULES)
def test_fused_is_plain_bit_for_bit(rule: str, formats: tuple[str, ...], bias: bool) -> None:
    ops, kind = RULES[rule](formats, bias).ops, rule.split()[0]
    plain = Runner(cpu_device(), ops, N)
    assert kind not in {op.kind for op in plain.program.ops}
    wanted = {n: plain(n) for n in (1, 2, N)}
    for isa in ISAS:
        for threads in (1, 2, 3) if isa != ISAS[0] else (2,):
            fused = Runner(cpu_device(isa, threads), ops, N, fused=True)
            assert kind in {op.kind for op in fused.program.ops}
            for n, y in wanted.items():
                assert_same_bits(fused(n), y, f"{isa}, {threads} threads, {n} tokens")


@pytest.mark.parametrize("formats", [("q5_k", "q5_k"), ("q8_0", "q4_k"), ("q6_k", "f16")])
def test_gate_and_up_are_one_stream_of_memory(formats: tuple[str, str]) -> None:
    """Unless one of them stays as it is in the file."""
    program = build(norm_gate_up(formats, False).ops, N, N, fused=True)
    flat = tables(program)
    cpu_device().pack(program, flat)
    packed = [record for record in flat.weights if record["packed"]]
    group_bytes = [_cpu.packed_bytes(int(record["format"]), 1, D) for record in packed]
    assert [16 * record["row_bytes"] for record in packed] == [sum(group_bytes)] * len(packed)
    if len(packed) == 2:
        assert packed[1]["data"] - packed[0]["data"] == group_bytes[0]


@pytest.mark.parametrize("n_matmuls", [1, 2, 3, 4])
def test_norm_matmul_takes_up_to_three(n_matmuls: int) -> None:
    block = Block()
    h = block.rms_norm("h", block.x, block.vector(D), 1e-5)
    block.join([block.linear(h, 17, "q5_k", False) for _ in range(n_matmuls)])
    plain, fused = (Runner(cpu_device(), block.ops, N, fused=fused) for fused in (False, True))
    assert ("norm_matmul" in {op.kind for op in fused.program.ops}) == (n_matmuls < 4)
    assert_same_bits(fused(N), plain(N))


@pytest.mark.parametrize("formats", [("q4_k",), ("f32",), ("q8_0", "q4_k", "f16")], ids="-".join)
@pytest.mark.parametrize("rows", [[], [0], [8], [8, 0, 5], [3, 3], list(range(N))], ids=str)
def test_norm_matmul_of_selected_rows(rows: list[int], formats: tuple[str, ...]) -> None:
    block = Block()
    h = block.rms_norm("h", block.select("picked", block.x), block.vector(D), 1e-5)
    block.join([block.linear(h, 33, format, True) for format in formats])
    step = replace(make_step(N), logit_rows=np.array(rows, np.int32))
    plain = Runner(cpu_device(), block.ops, N)
    assert "select" in {op.kind for op in plain.program.ops}
    wanted = plain(step)
    for isa in ISAS:
        for threads in (1, 3):
            fused = Runner(cpu_device(isa, threads), block.ops, N, fused=True)
            assert "select" not in {op.kind for op in fused.program.ops}
            assert_same_bits(fused(step), wanted, f"{isa}, {threads} threads")


def test_a_residual_may_be_the_normalised_input() -> None:
    """x + W norm(x), where the sum may lie where x lay: reuse of memory must not be seen."""
    block = Block()
    h = block.rms_norm("h", block.x, block.vector(D), 1e-5)
    block.add("y", block.linear(h, D, "q4_0", False), block.x)
    plain, fused = (Runner(cpu_device(), block.ops, N, fused=fused) for fused in (False, True))
    assert_same_bits(fused(N), plain(N))


@pytest.mark.parametrize("widths", [(512, 512), (512, 256), (256, 1024)])
def test_matmuls_of_different_inputs_side_by_side(widths: tuple[int, int]) -> None:
    """Two matmuls that do not depend on each other run without a wait between them: the room in
    which one prepares its activations must not be taken by the other while threads still read.
    Three threads on fewer cores meet at every point of each other's work sooner or later."""
    rng = np.random.default_rng(3)
    feed = Feed()
    inputs = [feed.rows("x", rng.standard_normal((N, n)).astype(np.float32)) for n in widths]
    weights = [random_weights(rng, "q4_k", 1024, n, 1.0).reshape(-1) for n in widths]
    results = [
        feed.matmul("y", x, Weight("w", (1024, x.width), "q4_k", blocks))
        for x, blocks in zip(inputs, weights, strict=True)
    ]
    feed.add("both", *results)
    wanted = Runner(cpu_device(), feed.ops, N)(N)
    runner = Runner(cpu_device(ISAS[-1], 3), feed.ops, N)
    for attempt in range(200):
        assert_same_bits(runner(N), wanted, f"attempt {attempt}")
