"""The fusion table: which neighbouring ops become one, and the pass that applies it.

A rule looks at the op list at one place and answers with a fused op and the number of ops it takes
the place of, or with None. Rules are tried in the table's order; a fused op keeps what it stands
for in `parts`, so that a device can also run it unfused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from .ops import Op, Value, Weight

__all__ = ["fuse"]

Uses = Counter[Value]
Rule = Callable[[Sequence[Op], Uses], "tuple[Op, int] | None"]


def fuse(ops: Sequence[Op]) -> list[Op]:
    """Applies the table until nothing changes any more."""
    current = list(ops)
    for rule in RULES:
        uses = Counter(value for op in current for value in op.inputs)
        result: list[Op] = []
        at = 0
        while at < len(current):
            match = rule(current[at : at + 6], uses)
            if match and at + match[1] == len(current):
                # the last op's value is the program's result, which must stay the last op's first
                match = match if match[0].outputs[:1] == current[-1].outputs[:1] else None
            if match is None:
                result.append(current[at])
                at += 1
            else:
                fused, taken = match
                result.append(fused)
                at += taken
        current = result
    return current


def _kinds(ops: Sequence[Op], *kinds: str) -> bool:
    return tuple(op.kind for op in ops[: len(kinds)]) == kinds


def _parts(ops: Sequence[Op]) -> tuple[Op, ...]:
    return tuple(part for op in ops for part in (op.parts or (op,)))


def _normed(norm: Op) -> int:
    """Elements that an rms_norm normalises together: a token's whole row, or a head of it."""
    (gain,) = norm.weights
    return gain.n_in if gain else 0


def _attention(ops: Sequence[Op], uses: Uses) -> tuple[Op, int] | None:
    """attention_scores, softmax, attention_mix -> attention: no score matrix."""
    if not _kinds(ops, "attention_scores", "softmax", "attention_mix"):
        return None
    scores, softmax, mix = ops[:3]
    if softmax.inputs != scores.outputs or mix.inputs != softmax.outputs:
        return None
    if uses[scores.outputs[0]] > 1 or uses[softmax.outputs[0]] > 1:
        return None
    params = {**scores.params, **softmax.params}
    return Op("attention", scores.inputs, mix.outputs, (), params, mix.layer, _parts(ops[:3])), 3


def _rope_kv_write(ops: Sequence[Op], uses: Uses) -> tuple[Op, int] | None:
    """[rms_norm(q), rms_norm(k),] rope(q), rope(k), kv_write(k, v) -> rope_kv_write: heads are
    normalised and turned in one go, and keys go straight to their page."""
    first = 2 if _kinds(ops, "rms_norm", "rms_norm") else 0
    if not _kinds(ops[first:], "rope", "rope", "kv_write"):
        return None
    q, k, write = ops[first : first + 3]
    if write.inputs[0] is not k.outputs[0] or uses[k.outputs[0]] > 1:
        return None
    if q.outputs[0] in (k.inputs[0], write.inputs[1]):
        return None
    if q.inputs[1] is not k.inputs[1] or q.params["neox"] != k.params["neox"]:
        return None
    params = {**q.params, "n_kv_heads": k.params["n_heads"]}
    sources: tuple[Value, ...] = (q.inputs[0], k.inputs[0])
    gains: tuple[Weight | None, ...] = ()
    if first:
        if ops[0].params != ops[1].params or write.inputs[1] in sources:
            return None
        if any(norm.outputs != (x,) or uses[x] > 1 for norm, x in zip(ops, sources, strict=False)):
            return None
        if {_normed(norm) for norm in ops[:2]} != {q.params["head_dim"]}:
            return None
        sources, gains = ops[0].inputs + ops[1].inputs, ops[0].weights + ops[1].weights
        params |= ops[0].params
    inputs = (*sources, write.inputs[1], q.inputs[1])
    taken = ops[: first + 3]
    return Op("rope_kv_write", inputs, q.outputs, gains, params, q.layer, _parts(taken)), len(taken)


def _norm_gate_up(ops: Sequence[Op], uses: Uses) -> tuple[Op, int] | None:
    """rms_norm, matmul, matmul, silu or gelu, mul -> norm_gate_up: SwiGLU and GEGLU (Shazeer 2020,
    arXiv:2002.05202)."""
    if not any(_kinds(ops, "rms_norm", "matmul", "matmul", act, "mul") for act in ("silu", "gelu")):
        return None
    norm, gate, up, act, mul = ops[:5]
    y, g, u, a = (op.outputs[0] for op in (norm, gate, up, act))
    fits = gate.inputs == up.inputs == (y,) and act.inputs == (g,) and mul.inputs == (a, u)
    if not fits or _normed(norm) != norm.inputs[0].width:
        return None
    if uses[y] != 2 or any(uses[value] != 1 for value in (g, u, a)):
        return None
    weights = (*norm.weights, *gate.weights, *up.weights)
    params = {**norm.params, "gelu": int(act.kind == "gelu")}
    parts = _parts(ops[:5])
    return Op("norm_gate_up", norm.inputs, mul.outputs, weights, params, mul.layer, parts), 5


def _norm_matmul(ops: Sequence[Op], uses: Uses) -> tuple[Op, int] | None:
    """rms_norm and the up to three matmuls that read it -> norm_matmul. A select before them goes
    into it: then the input has a row a token, and the outputs one a token whose logits are wanted.
    """
    first = 1 if _kinds(ops, "select") else 0
    if not _kinds(ops[first:], "rms_norm"):
        return None
    norm, y = ops[first], ops[first].outputs[0]
    if _normed(norm) != norm.inputs[0].width:
        return None
    if first and (norm.inputs != ops[0].outputs or uses[ops[0].outputs[0]] > 1):
        return None
    matmuls = []
    for op in ops[first + 1 : first + 4]:
        if op.kind != "matmul" or op.inputs != (y,):
            break
        matmuls.append(op)
    if not matmuls or uses[y] != len(matmuls):
        return None
    taken = first + 1 + len(matmuls)
    weights = norm.weights + tuple(w for op in matmuls for w in op.weights)
    outputs = tuple(op.outputs[0] for op in matmuls)
    parts = _parts(ops[:taken])
    return Op("norm_matmul", ops[0].inputs, outputs, weights, norm.params, norm.layer, parts), taken


def _matmul_add(ops: Sequence[Op], uses: Uses) -> tuple[Op, int] | None:
    """matmul, add -> matmul_add: the projection back into the residual stream."""
    if not _kinds(ops, "matmul", "add"):
        return None
    matmul, add = ops[:2]
    product = matmul.outputs[0]
    if product not in add.inputs or uses[product] != 1:
        return None
    residual = add.inputs[1] if add.inputs[0] is product else add.inputs[0]
    inputs = (matmul.inputs[0], residual)
    parts = _parts(ops[:2])
    return Op("matmul_add", inputs, add.outputs, matmul.weights, {}, add.layer, parts), 2


RULES: tuple[Rule, ...] = (_attention, _rope_kv_write, _norm_gate_up, _norm_matmul, _matmul_add)
