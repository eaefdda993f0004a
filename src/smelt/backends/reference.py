"""The reference device: NumPy in float64 on the decoded weights. Slow, plain, and the oracle.

It runs the plain ops that a Program was recorded with, whatever they were fused into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import CancelledError, DeviceError
from ..formats import FORMATS
from ..graph.ops import Op, Value, Weight
from ..graph.program import Program
from .base import PAGE_TOKENS, Step

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["Device"]

Array: TypeAlias = "np.ndarray[Any, Any]"


class Device:
    """NumPy, one thread, float64."""

    name = "reference"
    most_top = 0
    description = "reference, NumPy float64 on decoded weights"

    def __init__(self, threads: int | None = None):
        self._cancelled = False
        self._decoded: dict[Weight, Array] = {}

    def load(self, program: Program) -> LoadedProgram:
        return LoadedProgram(self, program)

    def create_pool(self, config: Config, kv_type: str) -> PagePool:
        if kv_type not in ("f16", "f32"):
            raise DeviceError(f"kv_type must be f16 or f32: {kv_type!r}")
        return PagePool(config)

    def cancel(self, wanted: bool = True) -> None:
        self._cancelled = wanted

    def check_cancelled(self) -> None:
        if self._cancelled:
            raise CancelledError("the step was cancelled")

    def decoded(self, weight: Weight) -> Array:
        """A weight's exact values, float32 (float64 for computed tables), kept."""
        if weight.format == "f64":
            return weight.data
        if weight not in self._decoded:
            flat = FORMATS[weight.format].decode(weight.data)
            self._decoded[weight] = flat.reshape(weight.shape)
        return self._decoded[weight]


class Arrays(NamedTuple):
    """The numbers of a Step as arrays."""

    token_ids: Array
    positions: Array
    sequences: Array
    page_table: Array
    logit_rows: Array

    @classmethod
    def of(cls, step: Step) -> Arrays:
        most = max(map(len, step.page_table), default=0)
        page_table = np.zeros((len(step.page_table), most), np.int32)
        for row, pages in zip(page_table, step.page_table, strict=True):
            row[: len(pages)] = pages
        numbers = step.token_ids, step.positions, step.sequences, step.logit_rows
        token_ids, positions, sequences, rows = (np.array(n, np.int32) for n in numbers)
        return cls(token_ids, positions, sequences, page_table, rows)


class PagePool:
    """Keys and values [n_layers, 2, n_pages, PAGE_TOKENS, n_kv_heads, head_dim], in float64
    whatever kv_type says: the reference rounds nothing."""

    readable = True

    def __init__(self, config: Config):
        self._shape = (config.n_layers, 2, 0, PAGE_TOKENS, config.n_kv_heads, config.head_dim)
        self.pages = np.zeros(self._shape)
        self.page_bytes = 8 * int(np.prod([n for n in self._shape if n]))

    def grow(self, n_pages: int) -> None:
        missing = n_pages - self.pages.shape[2]
        if missing > 0:
            extra = np.zeros((*self._shape[:2], missing, *self._shape[3:]))
            self.pages = np.concatenate([self.pages, extra], axis=2)

    def read(
        self, layer: int, page: int, first: int = 0, end: int = PAGE_TOKENS
    ) -> tuple[Array, Array]:
        keys, values = self.pages[layer, :, page, first:end]
        return keys.copy(), values.copy()

    def history(self, layer: int, part: int, pages: Array, n: int) -> Array:
        """The first n positions of a sequence: [n, n_kv_heads, head_dim]."""
        used: Array = self.pages[layer, part, pages[: -(-n // PAGE_TOKENS)]]
        positions: Array = used.reshape(-1, *used.shape[2:])[:n]
        return positions


class LoadedProgram:
    """A Program run op by op; after a step `values` holds what every op made."""

    def __init__(self, device: Device, program: Program):
        self.device = device
        self.program = program
        self.values: dict[Value, Array] = {}
        self._plain = [part for op in program.ops for part in (op.parts or (op,))]

    def run(self, pool: Any, step: Step) -> Array:
        self.values = {}
        arrays = Arrays.of(step)
        for op in self._plain:
            self.device.check_cancelled()
            result = OPS[op.kind](self, op, pool, arrays)
            if result is not None:
                self.values[op.outputs[0]] = result
        last = self._plain[-1].outputs[0]
        return self.read(last, len(self.values[last]))

    def read(self, value: Value, n_rows: int) -> Array:
        rows: Array = self.values[value][:n_rows]
        if value.shape and rows.shape[-1] < value.shape[-1]:  # scores: only as far as there are any
            missing = value.shape[-1] - rows.shape[-1]
            rows = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)])
        return rows.reshape(n_rows, *value.shape)

    def weight(self, op: Op, index: int) -> Array:
        weight = op.weights[index]
        assert weight is not None
        return self.device.decoded(weight)

    def inputs(self, op: Op) -> list[Array]:
        return [self.values[value] for value in op.inputs]


def embed(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    rows: Array = p.weight(op, 0)[step.token_ids].astype(np.float64)
    return rows


def select(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    rows: Array = p.inputs(op)[0][step.logit_rows]
    return rows


def rms_norm(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    gain = p.weight(op, 0).astype(np.float64)
    rows = x.reshape(-1, len(gain))  # tokens, or heads of tokens
    mean = np.mean(rows * rows, axis=-1, keepdims=True)
    y: Array = rows / np.sqrt(mean + op.params["eps"]) * gain
    return y.reshape(x.shape)


def layer_norm(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    x = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(x * x, axis=-1, keepdims=True)
    y: Array = x / np.sqrt(variance + op.params["eps"]) * p.weight(op, 0).astype(np.float64)
    return y if op.weights[1] is None else y + p.weight(op, 1)


def matmul(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    weight = p.weight(op, 0).astype(np.float64)
    y = x.reshape(len(x), weight.shape[1]) @ weight.T
    if op.weights[1] is not None:
        y = y + p.weight(op, 1)
    return y.reshape(len(x), *op.outputs[0].shape)


def rope_table(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    angle = step.positions[:, None] * p.weight(op, 0)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1) * op.params["scale"]


def rope(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    x, table = p.inputs(op)
    n = int(op.params["rotary_dim"])
    cos, sin = table[:, None, :, 0], table[:, None, :, 1]
    if op.params["neox"]:
        first, second = slice(0, n // 2), slice(n // 2, n)
    else:
        first, second = slice(0, n, 2), slice(1, n, 2)
    y = x.copy()
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return y


def kv_write(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> None:
    page = step.page_table[step.sequences, step.positions // PAGE_TOKENS]
    for part, x in enumerate(p.inputs(op)):
        pool.pages[op.layer, part, page, step.positions % PAGE_TOKENS] = x


def attention_scores(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (q,) = p.inputs(op)
    scores = np.zeros((len(q), q.shape[1], int(step.positions.max()) + 1))
    for t, position in enumerate(step.positions):
        k = pool.history(op.layer, 0, step.page_table[step.sequences[t]], position + 1)
        scores[t, :, : position + 1] = np.einsum("hd,phd->hp", q[t], per_head(k, q.shape[1]))
    return scores


def softmax(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (scores,) = p.inputs(op)
    weights = np.zeros_like(scores)
    for t, position in enumerate(step.positions):
        s = scores[t, :, : position + 1] * op.params["scale"]
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        weights[t, :, : position + 1] = e / e.sum(axis=-1, keepdims=True)
    return weights


def attention_mix(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (weights,) = p.inputs(op)
    y = np.zeros((len(weights), *op.outputs[0].shape))
    for t, position in enumerate(step.positions):
        v = pool.history(op.layer, 1, step.page_table[step.sequences[t]], position + 1)
        y[t] = np.einsum("hp,phd->hd", weights[t, :, : position + 1], per_head(v, y.shape[1]))
    return y


def silu(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    y: Array = x / (1 + np.exp(-x))
    return y


def gelu(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    """(1 + tanh y) / 2 as 1 / (1 + e^-2y), which keeps its digits where tanh y is near -1."""
    (x,) = p.inputs(op)
    y: Array = x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return y


def sigmoid(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    y: Array = 1 / (1 + np.exp(-x))
    return y


def tanh(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    y: Array = np.tanh(x)
    return y


def relu(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    y: Array = np.maximum(x, 0)
    return y


def scale(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    (x,) = p.inputs(op)
    return x * op.params["scale"]


def mul(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    a, b = p.inputs(op)
    return a * b


def add(p: LoadedProgram, op: Op, pool: PagePool, step: Arrays) -> Array:
    a, b = p.inputs(op)
    return a + b


def per_head(x: Array, n_heads: int) -> Array:
    """Keys or values [positions, n_kv_heads, head_dim], repeated for the heads that share them."""
    return np.repeat(x, n_heads // x.shape[1], axis=1)


OPS = {
    function.__name__: function
    for function in (
        embed,
        select,
        rms_norm,
        layer_norm,
        matmul,
        rope_table,
        rope,
        kv_write,
        attention_scores,
        softmax,
        attention_mix,
        silu,
        gelu,
        sigmoid,
        tanh,
        relu,
        scale,
        mul,
        add,
    )
}
