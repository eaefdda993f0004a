"""What a model has to read and to compute at least, by its Program: one half of a roofline.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model", CACM 52
(2009): time is bounded by bytes over bandwidth and by operations over the arithmetic peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..formats import FORMATS

if TYPE_CHECKING:
    from ..graph.ops import Weight
    from ..graph.program import Program
    from ..limits import Limits

__all__ = ["Costs", "Work"]


@dataclass(frozen=True)
class Work:
    """Bytes to be read from memory, and operations; a multiplication and its addition are two.

    integer: of quantised weights, int16 products; floating: of F32, F16 and BF16 weights, and of
    attention.
    """

    bytes: float = 0.0
    integer: float = 0.0
    floating: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.bytes + other.bytes, self.integer + other.integer, self.floating + other.floating
        )

    def times(self, n: float) -> Work:
        return Work(self.bytes * n, self.integer * n, self.floating * n)

    def seconds(self, limits: Limits) -> tuple[float, str]:
        """What a machine with these limits needs at least, and for what: "memory" or
        "arithmetic"."""
        memory = self.bytes / limits.read
        arithmetic = self.integer / limits.dot + self.floating / limits.fma
        return (memory, "memory") if memory > arithmetic else (arithmetic, "arithmetic")


class Costs:
    """Of a Program: per step (every matrix is read once, whatever the number of tokens), per token,
    per row of logits, and per token and position that it attends to.

    Activations stay in caches and are not counted; nor are vectors, or rows of the table of embed.
    """

    def __init__(self, program: Program, kv_bytes: float):
        """kv_bytes: keys and values of one token in all layers."""
        self.step = self.token = self.logits = self.pair = Work()
        self._kv_bytes = kv_bytes
        for op in program.ops:
            if op.kind in ("attention", "attention_scores", "attention_mix"):
                halves = 2 if op.kind == "attention" else 1  # q k and p v
                products = float(op.params["n_heads"]) * op.params["head_dim"]
                self.pair += Work(floating=2 * products * halves)
            if op.kind == "embed":
                continue
            for weight in op.weights:
                if weight is None or len(weight.shape) != 2:
                    continue
                self.step += Work(bytes=weight.nbytes)
                if op.outputs[0].rows == "logits":
                    self.logits += _product(weight)
                else:
                    self.token += _product(weight)

    def decode(self, past: float, batch: int) -> Work:
        """Of a step that adds one token to each of `batch` sequences with `past` tokens."""
        positions = batch * (past + 1)
        return (
            self.step
            + (self.token + self.logits).times(batch)
            + self.pair.times(positions)
            + Work(bytes=self._kv_bytes * positions)
        )

    def prefill(self, prompt: int, batch: int, chunk: int) -> Work:
        """Of `batch` prompts of `prompt` tokens, in steps of `chunk` tokens; the logits of each
        one's last token are wanted."""
        tokens = prompt * batch
        return (
            self.step.times(-(-tokens // chunk))
            + self.token.times(tokens)
            + self.logits.times(batch)
            + self.pair.times(batch * prompt * (prompt + 1) / 2)
            + Work(bytes=self._kv_bytes * tokens)
        )


def _product(weight: Weight) -> Work:
    """With one row of activations."""
    operations = 2.0 * weight.n_out * weight.n_in
    is_float = FORMATS[weight.format].block_weights == 1
    return Work(floating=operations) if is_float else Work(integer=operations)
