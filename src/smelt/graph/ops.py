"""Values, weights and ops, and the Recorder that models/ write an architecture with.

Every op checks the shapes of its operands when it is recorded, so that no kernel ever meets a
wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ModelFormatError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np

    from ..config import Config

__all__ = ["Op", "Recorder", "Value", "Weight"]


@dataclass(frozen=True, eq=False)
class Value:
    """An activation: float32 [rows, *shape], one row a token or a token whose logits are wanted."""

    name: str
    shape: tuple[int, ...]
    rows: str = "tokens"  # or "logits"

    @property
    def width(self) -> int:
        """Elements a row."""
        product = 1
        for dim in self.shape:
            product *= dim
        return product


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor of the file, or a table computed at load (format "f64").

    data: uint8 [nbytes] or float64 [n]; shape: (n_out, n_in) or (n,).
    forget: tells the system that the file's pages of this tensor may leave memory: called by a
    device that has made a copy of its own.
    mapping: address and bytes of the mapped file that holds the data, or None where it is not
    mapped: a device may use its pages as they are.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    data: np.ndarray
    forget: Callable[[], None] = lambda: None
    mapping: tuple[int, int] | None = None

    @property
    def n_out(self) -> int:
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def n_in(self) -> int:
        return self.shape[-1]

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes)


@dataclass(frozen=True, eq=False)
class Op:
    """One op. `parts` are the plain ops that a fused one stands for, in their order."""

    kind: str
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    weights: tuple[Weight | None, ...] = ()
    params: Mapping[str, int | float] = field(default_factory=dict)
    layer: int = -1
    parts: tuple[Op, ...] = ()


class Recorder:
    """Records the plain ops of a model. Each method appends one op and returns its value."""

    def __init__(self, config: Config, weights: Mapping[str, Weight], capacity: int):
        """capacity: positions that a sequence's page table holds, the width of a score row."""
        self.config = config
        self.weights = weights
        self.capacity = capacity
        self.ops: list[Op] = []
        self.used: set[str] = set()  # names of the tensors that were asked for
        self._layer = -1

    @contextmanager
    def layer(self, index: int) -> Iterator[str]:
        """Ops recorded inside belong to this layer; gives the prefix of its names, "blk.N."."""
        self._layer = index
        yield f"blk.{index}."
        self._layer = -1

    def weight(self, name: str, *shape: int) -> Weight:
        """The tensor of that name and shape; ModelFormatError if it is not so."""
        found = self.optional_weight(name, *shape)
        if found is None:
            raise ModelFormatError(f"tensor {name} is missing; expected shape {shape}")
        return found

    def optional_weight(self, name: str, *shape: int) -> Weight | None:
        """The same, or None where the file has no such tensor."""
        self.used.add(name)
        found = self.weights.get(name)
        if found is not None and found.shape != shape:
            raise ModelFormatError(f"tensor {name}: expected shape {shape}, found {found.shape}")
        if found is not None and len(shape) == 1 and found.format not in ("f32", "f64"):
            raise UnsupportedModelError(
                f"tensor {name}: expected a vector in F32, found {found.format.upper()}"
            )
        return found

    def _record(
        self,
        kind: str,
        name: str,
        shape: tuple[int, ...],
        inputs: tuple[Value, ...] = (),
        weights: tuple[Weight | None, ...] = (),
        rows: str | None = None,
        params: Mapping[str, int | float] | None = None,
    ) -> Value:
        rows = rows or (inputs[0].rows if inputs else "tokens")
        value = Value(name, shape, rows)
        self.ops.append(Op(kind, inputs, (value,), weights, params or {}, self._layer))
        return value

    def embed(self, name: str, table: Weight) -> Value:
        self._dims("embed", name, table, 2)
        return self._record("embed", name, (table.n_in,), weights=(table,))

    def select(self, name: str, x: Value) -> Value:
        """The rows of the tokens whose logits are wanted."""
        if x.rows != "tokens":
            raise ModelFormatError(f"select {name}: the rows of {x.name} are selected already")
        return self._record("select", name, x.shape, (x,), rows="logits")

    def rms_norm(self, name: str, x: Value, gain: Weight, eps: float) -> Value:
        """x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, arXiv:1910.07467). A gain of
        head_dim elements normalises each head of x (n_heads, head_dim) by itself."""
        self._dims("rms_norm", name, gain, 1)
        if x.shape[-1] != gain.n_in:
            self._same_width("rms_norm", name, x.width, gain.n_in)
        return self._record("rms_norm", name, x.shape, (x,), (gain,), params={"eps": eps})

    def layer_norm(
        self, name: str, x: Value, gain: Weight, bias: Weight | None, eps: float
    ) -> Value:
        """(x - mean) / sqrt(variance + eps) * gain [+ bias] (Ba et al. 2016, arXiv:1607.06450)."""
        for vector in (gain, *([bias] if bias else [])):
            self._dims("layer_norm", name, vector, 1)
            self._same_width("layer_norm", name, x.width, vector.n_in)
        return self._record("layer_norm", name, x.shape, (x,), (gain, bias), params={"eps": eps})

    def matmul(
        self,
        name: str,
        x: Value,
        weight: Weight,
        bias: Weight | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Value:
        """x weight^T [+ bias]; `shape` may split the result into heads."""
        self._dims("matmul", name, weight, 2)
        self._same_width("matmul", name, x.width, weight.n_in)
        if shape is not None:
            self._same_width("matmul", name, Value("", shape).width, weight.n_out)
        if bias is not None:
            self._dims("matmul", name, bias, 1)
            self._same_width("matmul", name, weight.n_out, bias.n_in)
        return self._record("matmul", name, shape or (weight.n_out,), (x,), (weight, bias))

    def rope_table(self, name: str, inv_freq: Weight, scale: float) -> Value:
        """cos and sin of position * inv_freq, times scale: (rotary_dim / 2, 2)."""
        self._dims("rope_table", name, inv_freq, 1)
        if inv_freq.format != "f64":
            raise ModelFormatError(f"rope_table {name}: expected float64, found {inv_freq.format}")
        return self._record(
            "rope_table", name, (inv_freq.n_in, 2), weights=(inv_freq,), params={"scale": scale}
        )

    def rope(self, name: str, x: Value, table: Value, neox: bool) -> Value:
        """Turns the leading dimensions of each head of x (n_heads, head_dim)."""
        if len(x.shape) != 2 or table.width > x.shape[1] or x.rows != table.rows:
            raise ModelFormatError(
                f"rope {name}: {x.name} {x.shape} of {x.rows} cannot be turned by "
                f"{table.name} {table.shape} of {table.rows}"
            )
        n_heads, head_dim = x.shape
        params = {
            "n_heads": n_heads,
            "head_dim": head_dim,
            "rotary_dim": table.width,
            "neox": int(neox),
        }
        return self._record("rope", name, x.shape, (x, table), params=params)

    def attention(
        self, prefix: str, q: Value, k: Value, v: Value, scale: float, n_kv_heads: int
    ) -> Value:
        """Writes k and v to the layer's pages and attends causally: kv_write, attention_scores,
        softmax, attention_mix. q: (n_heads, head_dim); k and v: (n_kv_heads, head_dim)."""
        n_heads, head_dim = q.shape if len(q.shape) == 2 else (1, 0)
        if k.shape != (n_kv_heads, head_dim) or v.shape != k.shape or n_heads % n_kv_heads:
            raise ModelFormatError(
                f"{prefix}attention: q {q.shape}, k {k.shape}, v {v.shape} do not fit each other"
            )
        heads = {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "head_dim": head_dim}
        written = {"n_kv_heads": n_kv_heads, "n_heads": n_kv_heads, "head_dim": head_dim}
        self.ops.append(Op("kv_write", (k, v), (), (), written, self._layer))
        square = (n_heads, self.capacity)
        scores = self._record("attention_scores", f"{prefix}kq", square, (q,), params=heads)
        scaled = {"n_heads": n_heads, "scale": scale}
        p = self._record("softmax", f"{prefix}kq_softmax", square, (scores,), params=scaled)
        return self._record("attention_mix", f"{prefix}kqv", q.shape, (p,), params=heads)

    def silu(self, name: str, x: Value) -> Value:
        """x / (1 + e^-x)."""
        return self._record("silu", name, x.shape, (x,))

    def gelu(self, name: str, x: Value) -> Value:
        """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which is about x times the normal
        distribution's integral (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
        return self._record("gelu", name, x.shape, (x,))

    def sigmoid(self, name: str, x: Value) -> Value:
        """1 / (1 + e^-x)."""
        return self._record("sigmoid", name, x.shape, (x,))

    def tanh(self, name: str, x: Value) -> Value:
        return self._record("tanh", name, x.shape, (x,))

    def relu(self, name: str, x: Value) -> Value:
        """The larger of x and 0; a NaN stays one."""
        return self._record("relu", name, x.shape, (x,))

    def scale(self, name: str, x: Value, factor: float) -> Value:
        """x times a number."""
        return self._record("scale", name, x.shape, (x,), params={"scale": factor})

    def mul(self, name: str, a: Value, b: Value) -> Value:
        self._alike("mul", name, a, b)
        return self._record("mul", name, a.shape, (a, b))

    def add(self, name: str, a: Value, b: Value) -> Value:
        self._alike("add", name, a, b)
        return self._record("add", name, a.shape, (a, b))

    def _dims(self, kind: str, name: str, weight: Weight, n: int) -> None:
        if len(weight.shape) != n:
            raise ModelFormatError(
                f"{kind} {name}: expected {n} dimensions, {weight.name} has shape {weight.shape}"
            )

    def _alike(self, kind: str, name: str, a: Value, b: Value) -> None:
        self._same_width(kind, name, a.width, b.width)
        if a.rows != b.rows:
            raise ModelFormatError(f"{kind} {name}: rows of {a.rows} and of {b.rows} do not fit")

    def _same_width(self, kind: str, name: str, a: int, b: int) -> None:
        if a != b:
            raise ModelFormatError(f"{kind} {name}: operands of width {a} and {b} do not fit")
