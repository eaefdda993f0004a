"""The mixtures of `smelt quantize`: which format a tensor gets in a Q4_K_M file and the like.

The choices are those of llama.cpp (llama_tensor_get_type and tensor_type_fallback in its
src/llama-quant.cpp), so that a file has the size and the tensors that its name leads one to expect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from smelt.formats import FORMATS

__all__ = ["MIXTURES", "Choice", "Mixture", "choose_formats"]


@dataclass(frozen=True)
class Mixture:
    """One kind of file: its name, its number in general.file_type, and what most matrices get."""

    name: str
    file_type: int
    format: str
    summary: str


class Choice(NamedTuple):
    """The format of a tensor, and whether it stands in for one that its rows do not fit."""

    format: str
    is_fallback: bool


# Numbers: enum llama_ftype in llama.cpp's include/llama.h.
MIXTURES: Mapping[str, Mixture] = MappingProxyType(
    {
        mixture.name: mixture
        for mixture in (
            Mixture("Q2_K_S", 21, "q2_k", "nearly everything in Q2_K"),
            Mixture("Q2_K", 10, "q2_k", "values, down projections and attention outputs in Q3_K"),
            Mixture("Q3_K_S", 11, "q3_k", "nearly everything in Q3_K"),
            Mixture("Q3_K_M", 12, "q3_k", "values, down projections, outputs in Q4_K and Q5_K"),
            Mixture("Q3_K_L", 13, "q3_k", "values, down projections, outputs in Q5_K"),
            Mixture("Q4_0", 2, "q4_0", "a scale for 32 weights; Q4_K_S is better"),
            Mixture("Q4_1", 3, "q4_1", "a scale and an offset for 32 weights"),
            Mixture("Q4_K_S", 14, "q4_k", "first values and down projections in Q5_K"),
            Mixture("Q4_K_M", 15, "q4_k", "half of values and down projections in Q6_K"),
            Mixture("Q5_0", 8, "q5_0", "a scale for 32 weights; Q5_K_S is better"),
            Mixture("Q5_1", 9, "q5_1", "a scale and an offset for 32 weights"),
            Mixture("Q5_K_S", 16, "q5_k", "nearly everything in Q5_K"),
            Mixture("Q5_K_M", 17, "q5_k", "half of values and down projections in Q6_K"),
            Mixture("Q6_K", 18, "q6_k", "everything in Q6_K"),
            Mixture("Q8_0", 7, "q8_0", "everything in Q8_0"),
            Mixture("F16", 1, "f16", "half precision"),
            Mixture("BF16", 32, "bf16", "bfloat16"),
        )
    }
)

# Small or sensitive, and therefore left as they are: parts of the names of such matrices.
KEPT = ("_norm.weight", "ffn_gate_inp.weight", "position_embd", "token_types", "conv1d.weight")

# What stands in where a row is no whole number of 256 weights, but one of 32.
FALLBACKS = {"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}

VALUES = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")
LAYER = re.compile(r"blk\.(\d+)\.")


def choose_formats(
    mixture: Mixture, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Choice]:
    """The format of every tensor that the mixture quantises; the others stay as they are.

    shapes: of all tensors, the contiguous dimension last. A row that is no multiple of 256 falls
    back to a format of 32 weights a block, one that is no multiple of 32 to F16.
    """
    model = _Model.of(metadata, shapes)
    names = sorted(filter(lambda name: _is_quantised(name, shapes[name]), shapes), key=_layer)
    values = [name for name in names if name.endswith(VALUES)]
    chosen = {}
    for name in names:
        n_in = shapes[name][-1]
        place = values.index(name) if name in values else _layer(name)
        wanted = _wanted(mixture, model, name, place, len(values), n_in)
        format = _fitting(wanted, n_in)
        chosen[name] = Choice(format, format != wanted)
    return chosen


@dataclass(frozen=True)
class _Model:
    """What the choice depends on beside the tensor."""

    n_layers: int
    n_queries_a_value: int
    n_experts: int
    tied: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> _Model:
        prefix = metadata.get("general.architecture", "")
        n_heads = _first(metadata.get(f"{prefix}.attention.head_count", 1))
        n_kv_heads = _first(metadata.get(f"{prefix}.attention.head_count_kv", n_heads))
        return cls(
            n_layers=1 + max(map(_layer, shapes), default=0),
            n_queries_a_value=n_heads // max(n_kv_heads, 1),
            n_experts=_first(metadata.get(f"{prefix}.expert_count", 0)),
            tied="output.weight" not in shapes,
        )


def _first(value: Any) -> int:
    """Heads are counted for the whole model, or in an array, a layer each."""
    return int(value) if isinstance(value, (int, float)) else int(value[0])


def _layer(name: str) -> int:
    match = LAYER.match(name)
    return int(match[1]) if match else 0


def _is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    # A vector may have leading dimensions of 1.
    n_dims = len(shape) - next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return name.endswith("weight") and n_dims >= 2 and not any(part in name for part in KEPT)


def _gets_more_bits(place: int, n: int) -> bool:
    """The first and last eighth, and every third between them."""
    return place < n // 8 or place >= 7 * n // 8 or (place - n // 8) % 3 == 2


def _fitting(format: str, n_in: int) -> str:
    """The format, or the one that stands in for it where rows are no whole number of blocks."""
    if n_in % FORMATS[format].block_weights:
        format = FALLBACKS.get(format, "f16")
    return "f16" if n_in % FORMATS[format].block_weights else format


def _wanted(
    mixture: Mixture, model: _Model, name: str, place: int, n_values: int, n_in: int
) -> str:
    """The format before fallbacks. `place`: among the values for one of those, otherwise layer."""
    kind = mixture.name
    if FORMATS[mixture.format].block_weights == 1:
        return mixture.format
    if name == "output.weight" or (model.tied and name == "token_embd.weight"):
        whole = n_in % FORMATS[mixture.format].block_weights == 0
        return "q6_k" if whole and kind != "Q8_0" else "q8_0"
    if name.endswith(VALUES):
        return _wanted_for_values(kind, model, name, place, n_values) or mixture.format
    if name.endswith("attn_k.weight") and model.n_experts == 8:
        return "q8_0"
    if "ffn_down" in name:
        return _wanted_for_down(kind, place, model.n_layers) or mixture.format
    if name.endswith("attn_output.weight"):
        if model.n_experts == 8 and kind in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M"):
            return "q5_k"
        if model.n_experts != 8:
            by_kind = {"Q2_K": "q3_k", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k"}
            return by_kind.get(kind, mixture.format)
    return mixture.format


def _wanted_for_values(
    kind: str, model: _Model, name: str, place: int, n_values: int
) -> str | None:
    """Values are few where several queries share them, and their errors count most."""
    format = None
    if kind == "Q2_K":
        format = "q4_k" if model.n_queries_a_value >= 4 else "q3_k"
    elif kind == "Q2_K_S" and model.n_queries_a_value >= 4:
        format = "q4_k"
    elif kind == "Q3_K_M":
        format = "q5_k" if place < 2 else "q4_k"
    elif kind == "Q3_K_L" or (kind == "Q4_K_S" and place < 4):
        format = "q5_k"
    elif kind in ("Q4_K_M", "Q5_K_M") and _gets_more_bits(place, n_values):
        format = "q6_k"
    # Llama 70B, where eight queries share a value.
    if model.n_layers == 80 and model.n_queries_a_value > 1:
        small = {"Q3_K_S": "q3_k", "Q4_K_S": "q4_k", "Q4_K_M": "q4_k"}
        if (format or small.get(kind)) in ("q3_k", "q4_k"):
            format = "q5_k"
    return "q8_0" if model.n_experts == 8 else format


def _wanted_for_down(kind: str, layer: int, n_layers: int) -> str | None:
    if kind == "Q2_K":
        return "q3_k"
    if kind == "Q2_K_S" and layer < n_layers // 8:
        return "q4_k"
    if kind == "Q3_K_M":
        return "q5_k" if layer < n_layers // 16 else "q4_k"
    if kind == "Q3_K_L" or (kind == "Q4_K_S" and layer < n_layers // 8):
        return "q5_k"
    if kind in ("Q4_K_M", "Q5_K_M") and _gets_more_bits(layer, n_layers):
        return "q6_k"
    return None
