"""Small graphs for tests: weights without a file, values, ops, and a Recorder over them."""

from __future__ import annotations

import numpy as np

from small_config import make_config
from smelt.graph.ops import Op, Recorder, Value, Weight

HEADS, KV_HEADS, HEAD_DIM, D_MODEL, D_FF, VOCAB = 4, 2, 8, 32, 48, 50
CONFIG = make_config(HEADS, KV_HEADS, HEAD_DIM, d_ff=D_FF, n_vocab=VOCAB)


def weight(name: str, *shape: int, format: str = "f32") -> Weight:
    """Zeros; `format` is only a label, the data are as many bytes as float32 would need."""
    if format == "f64":
        return Weight(name, shape, format, np.zeros(shape))
    return Weight(name, shape, format, np.zeros(4 * int(np.prod(shape)), np.uint8))


class Sketch(Recorder):
    """A Recorder that makes the weights it is asked for."""

    def __init__(self, capacity: int = 64):
        super().__init__(CONFIG, {}, capacity)
        self.x = self.embed("x", weight("table", VOCAB, D_MODEL))

    def norm(self, x: Value, name: str = "norm") -> Value:
        return self.rms_norm(name, x, weight(f"{name}.gain", x.width), 1e-5)

    def linear(self, x: Value, n_out: int, name: str = "y", bias: bool = False) -> Value:
        b = weight(f"{name}.bias", n_out) if bias else None
        return self.matmul(name, x, weight(f"{name}.weight", n_out, x.width), b)

    def heads(self, x: Value, n_heads: int, name: str) -> Value:
        w = weight(f"{name}.weight", n_heads * HEAD_DIM, x.width)
        return self.matmul(name, x, w, shape=(n_heads, HEAD_DIM))

    def table(self, rotary_dim: int = HEAD_DIM) -> Value:
        return self.rope_table("table", weight("inv_freq", rotary_dim // 2, format="f64"), 1.0)


def kinds(ops: list[Op] | tuple[Op, ...]) -> list[str]:
    return [op.kind for op in ops]
