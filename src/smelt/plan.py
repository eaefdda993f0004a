"""`smelt plan`: what a step of a model does, op by op, in words a person can read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .backends import check_device
from .graph.ops import Op, Weight
from .graph.program import Program
from .model import Model

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """A model's Program for steps of up to max_tokens tokens, ready to be shown."""

    model: Model
    program: Program
    n_ctx: int

    def as_dict(self) -> dict[str, Any]:
        """Numbers and ops: dispatches and barriers of one step, bytes, and a list of all ops."""
        program = self.program
        return {
            "model": str(self.model.file.path),
            "architecture": self.model.config.architecture,
            "dispatches": len(program.ops),
            "barriers": sum(program.waits),
            "dispatches_per_layer": self._in_layer(lambda at: True),
            "barriers_per_layer": self._in_layer(lambda at: program.waits[at]),
            "weight_bytes": sum(weight.nbytes for weight in self._read_weights()),
            "activation_bytes_per_token": self._activation_bytes(),
            "arena_bytes": program.arena_bytes,
            "max_tokens": program.max_tokens,
            "n_ctx": self.n_ctx,
            "kv_bytes_per_token_f16": self._kv_bytes(),
            "ops": [
                {
                    "op": op.kind,
                    "layer": op.layer,
                    "barrier": waits,
                    "inputs": [value.name for value in op.inputs],
                    "outputs": [value.name for value in op.outputs],
                    "weights": [w.name for w in op.weights if w is not None],
                    "parts": [part.kind for part in op.parts],
                }
                for op, waits in zip(program.ops, program.waits, strict=True)
            ],
        }

    def text(self) -> str:
        """The same for a terminal: equal layers are shown once. "|" marks a barrier."""
        numbers = self.as_dict()
        c = self.model.config
        lines = [
            f"{c.name or self.model.file.path.name}: {c.architecture}, {c.n_layers} layers, "
            f"d_model {c.d_model}, {c.n_heads} heads over {c.n_kv_heads}, d_ff {c.d_ff}, "
            f"{c.n_vocab} tokens",
            f"one step: {numbers['dispatches']} ops, {numbers['barriers']} barriers "
            f"({numbers['dispatches_per_layer']} and {numbers['barriers_per_layer']} a layer)",
            f"a token reads {_size(numbers['weight_bytes'])} of weights and moves "
            f"{_size(numbers['activation_bytes_per_token'])} of activations",
            f"memory: activations {_size(numbers['arena_bytes'])} for {numbers['max_tokens']} "
            f"tokens a step, KV cache {_size(numbers['kv_bytes_per_token_f16'])} a token in f16",
            "",
        ]
        for title, indices in self._sections():
            lines.append(title)
            lines += [self._line(at) for at in indices]
        return "\n".join(lines)

    def _in_layer(self, counts: Any) -> int:
        """The most ops of one layer for which `counts` holds."""
        ops = self.program.ops
        return max(
            sum(1 for at, op in enumerate(ops) if op.layer == layer and counts(at))
            for layer in range(self.model.config.n_layers)
        )

    def _activation_bytes(self) -> int:
        """What the ops of a step of one token read and write of values, each once, in float32."""
        values = (value for op in self.program.ops for value in (*op.inputs, *op.outputs))
        return sum(4 * value.width for value in values)

    def _kv_bytes(self) -> int:
        return 2 * 2 * self.model.config.n_layers * self.model.config.kv_dim

    def _read_weights(self) -> Iterator[Weight]:
        """Weights that a step of one token reads as a whole: all but the table of embed."""
        for op in self.program.ops:
            if op.kind != "embed":
                yield from (w for w in op.weights if w is not None)

    def _sections(self) -> Iterator[tuple[str, list[int]]]:
        """Runs of ops under a title; layers with the same ops and formats share one."""
        ops = self.program.ops
        layers: dict[tuple[str, ...], list[int]] = {}
        for layer in range(self.model.config.n_layers):
            layers.setdefault(tuple(_signature(op) for op in ops if op.layer == layer), []).append(
                layer
            )
        first_in_layer = next(at for at, op in enumerate(ops) if op.layer >= 0)
        yield "before the layers", list(range(first_in_layer))
        for alike in layers.values():
            title = f"layer{'s' * (len(alike) > 1)} {_ranges(alike)}"
            yield title, [at for at, op in enumerate(ops) if op.layer == alike[0]]
        last = max(at for at, op in enumerate(ops) if op.layer >= 0)
        yield "after the layers", list(range(last + 1, len(ops)))

    def _line(self, at: int) -> str:
        op, mark = self.program.ops[at], "|" if self.program.waits[at] else " "
        inputs = " ".join(_short(value.name) for value in op.inputs)
        outputs = " ".join(_short(value.name) for value in op.outputs) or "pages"
        named = [
            f"{_short(w.name).removesuffix('.weight')} {w.format}"
            for w in op.weights
            if w is not None
        ]
        line = f"  {mark} {op.kind:<14} {inputs or '-'} -> {outputs}"
        return f"{line:<62} {', '.join(named)}".rstrip()


def plan(
    path: str | os.PathLike[str],
    device: str = "auto",
    n_ctx: int | None = None,
    max_tokens: int = 512,
    fused: bool = True,
) -> Plan:
    """The Program of a model on a device, without running it.

    fused=False shows the plain ops that models/ record. All devices run the same Program; on
    "metal" every op of a decode step is one dispatch (contexts beyond 512 tokens add one a layer
    that joins the parts of attention).
    Raises what Model raises, and DeviceError for an unknown device.
    """
    check_device(device)
    model = Model(path)
    capacity = n_ctx or model.config.n_ctx
    return Plan(model, model.program(capacity, max_tokens, fused=fused), capacity)


def _signature(op: Op) -> str:
    return " ".join([op.kind, *(w.format for w in op.weights if w is not None)])


def _short(name: str) -> str:
    """Without the layer's prefix."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as "0-2, 5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _size(nbytes: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.1f} {unit}"
    return f"{nbytes} B"
