"""The logit lens: what a model would say next if it stopped after each layer.

nostalgebraist, "interpreting GPT: the logit lens" (2020): the final norm and the output matrix,
which the model applies behind its last layer, are applied to the residual stream behind every one.

They run on the Engine's own device: a small Program whose embedding table is the collected residual
streams, and whose other ops are those that the architecture records after its last layer. So the
row of the last layer is the model's own answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..backends.base import PAGE_TOKENS, Step
from ..errors import UnsupportedModelError
from ..graph.ops import Op, Value, Weight
from ..graph.program import build
from .surprise import log_probabilities

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["Lens", "decode_streams", "logit_lens"]


@dataclass(frozen=True, eq=False)
class Lens:
    """The most likely next token behind every layer and place, and its probability.

    tokens: int64 and probabilities: float64 [n_layers + 1, n]; row 0 is the embedding, before any
    layer, the last row the model's answer. read: the ids at the n places, the last that each
    answer could see.
    """

    read: tuple[int, ...]
    tokens: np.ndarray
    probabilities: np.ndarray

    def settled(self) -> np.ndarray:
        """For every place the first row from which on the top token is the final one: int64 [n]."""
        differs = self.tokens != self.tokens[-1]
        rows = np.arange(1, len(differs) + 1)[:, None]
        result: np.ndarray = (differs * rows).max(axis=0)
        return result


def logit_lens(engine: Engine, streams: Sequence[np.ndarray], read: Sequence[int]) -> Lens:
    """The lens over residual streams [n, d_model], one before the layers and one after each.

    Costs (n_layers + 1) n products with the output matrix; one layer's logits are held at a time.
    """
    tokens = np.zeros((len(streams), len(read)), np.int64)
    probabilities = np.zeros(tokens.shape)
    for row, logits in enumerate(decode_streams(engine, streams)):
        logp = log_probabilities(logits)
        tokens[row] = logp.argmax(axis=-1)
        probabilities[row] = np.exp(logp.max(axis=-1))
    return Lens(tuple(read), tokens, probabilities)


def decode_streams(engine: Engine, streams: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Logits [n, n_vocab] of every stream [n, d_model], made by the ops after the last layer."""
    n = len(streams[0])
    rows = np.concatenate(list(streams)).astype(np.float32)
    table = Weight("streams", rows.shape, "f32", np.frombuffer(rows.tobytes(), np.uint8))
    with engine.lock:
        engine.check_open()
        device = engine._device
        program = build(_head(engine.model.record(PAGE_TOKENS), table), PAGE_TOKENS, PAGE_TOKENS)
        loaded = device.load(program)
        pool = device.create_pool(engine.config, "f16")
        pool.grow(1)
        for start in range(0, len(rows), n):
            wanted = range(start, start + n)
            parts = [wanted[at : at + PAGE_TOKENS] for at in range(0, n, PAGE_TOKENS)]
            yield np.concatenate([loaded.run(pool, _step(part)) for part in parts])


def _head(ops: Sequence[Op], table: Weight) -> list[Op]:
    """The ops after the last layer, fed with rows of a table in place of the residual stream."""
    last = max(at for at, op in enumerate(ops) if op.layer >= 0)
    stream = ops[last].outputs[0]
    fed = Value(stream.name, stream.shape)
    made = {fed}
    head = [Op("embed", (), (fed,), (table,))]
    for op in ops[last + 1 :]:
        inputs = tuple(fed if value is stream else value for value in op.inputs)
        if foreign := [value.name for value in inputs if value not in made]:
            raise UnsupportedModelError(
                f"no logit lens for this architecture: behind its layers {op.kind} reads "
                f"{foreign[0]}, expected the residual stream alone"
            )
        made.update(op.outputs)
        head.append(replace(op, inputs=inputs))
    return head


def _step(rows: range) -> Step:
    """A step that embeds these rows of the table; its positions fill one page at most."""
    n = len(rows)
    return Step(rows, range(n), [0] * n, [[0]], range(n))
