"""The dimensions of a model, inferred from the shapes of its weights.

Metadata is what somebody wrote about the weights; the shapes are the weights. What both say must
agree, and what only the shapes can say (TinyLlama: kv_dim 256 beside d_model 2,048) is not guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import ModelFormatError, UnsupportedModelError

__all__ = ["Config", "RopeScaling", "infer_config"]

Shapes = Mapping[str, tuple[int, ...]]
T = TypeVar("T", int, float, str)

# Most rows or columns of a matrix: kernels count the bytes of a row, and the elements of a page of
# keys, in 32 bits. The largest vocabularies have 2**18.
MOST_ELEMENTS = 2**24


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the context a model was first trained on.

    type: "none", "linear" (Chen et al. 2023, arXiv:2306.15595) or "yarn" (Peng et al. 2023,
    arXiv:2309.00071); the other fields are YaRN's, under the names of its paper.
    """

    type: str = "none"
    factor: float = 1.0
    original_n_ctx: int = 0
    ext_factor: float = 1.0
    attn_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Dimensions and constants of a model. All sizes count elements, not bytes."""

    architecture: str
    name: str
    n_layers: int
    n_vocab: int
    n_ctx: int
    d_model: int
    d_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    tied: bool
    norm_eps: float
    rotary_dim: int
    rope_base: float
    rope_scaling: RopeScaling
    rope_factors: bool
    biases: tuple[str, ...] = ()
    """Projections of a layer that have one: "attn_q", ..."""

    @property
    def kv_dim(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.n_kv_heads * self.head_dim

    @property
    def q_dim(self) -> int:
        """Width of a layer's queries."""
        return self.n_heads * self.head_dim


class _Metadata:
    """Typed access to the metadata of one architecture."""

    def __init__(self, metadata: Mapping[str, Any]):
        self.values = metadata
        self.architecture = self.get("general.architecture", str, "")

    def get(self, key: str, kind: type[T], default: T | None) -> Any:
        value: Any = self.values.get(key)
        if value is None:
            return default
        # rank-one arrays stand for one value a layer; a model of equal layers may be written so
        if hasattr(value, "tolist") and len(value) and len({*value.tolist()}) == 1:
            value = value.tolist()[0]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**64 else math.inf
        if not isinstance(value, kind) or isinstance(value, bool):
            if hasattr(value, "__len__") and not isinstance(value, str):
                raise UnsupportedModelError(
                    f"metadata {key} differs from layer to layer; smelt runs equal layers only"
                )
            raise ModelFormatError(f"metadata {key}: expected {kind.__name__}, found {value!r}")
        return value

    def of_model(self, key: str, kind: type[T], default: T | None = None) -> Any:
        return self.get(f"{self.architecture}.{key}", kind, default)

    def positive(self, key: str, default: float) -> float:
        value = float(self.of_model(key, float, default))
        if not (math.isfinite(value) and value > 0):
            raise ModelFormatError(
                f"metadata {self.architecture}.{key}: expected a positive number, found {value}"
            )
        return value

    def agree(self, key: str, inferred: int, tensor: str, shape: tuple[int, ...]) -> None:
        """Metadata may be silent, but it may not contradict a weight."""
        stated = self.of_model(key, int)
        if stated is not None and stated != inferred:
            raise ModelFormatError(
                f"metadata says {self.architecture}.{key} = {stated}, but tensor {tensor} with "
                f"shape {shape} says {inferred}; the file contradicts itself"
            )


def infer_config(metadata: Mapping[str, Any], shapes: Shapes) -> Config:
    """Infers the configuration of a model from its metadata and the shapes of its tensors.

    A pure function. `shapes` maps tensor names to shapes in NumPy order: a linear weight is
    (n_out, n_in).

    Raises ModelFormatError where a tensor is missing, or shapes and metadata contradict each
    other (both are shown); UnsupportedModelError where they describe what smelt cannot run.
    """
    meta = _Metadata(metadata)
    n_vocab, d_model = _matrix(shapes, "token_embd.weight")
    meta.agree("embedding_length", d_model, "token_embd.weight", (n_vocab, d_model))
    meta.agree("vocab_size", n_vocab, "token_embd.weight", (n_vocab, d_model))
    if (meta.of_model("expert_count", int, 0) or 0) > 0:
        raise UnsupportedModelError("mixtures of experts are not supported (expert_count > 0)")
    n_layers = _count_layers(meta, shapes)
    d_ff = _matrix(shapes, "blk.0.ffn_up.weight")[0]
    meta.agree("feed_forward_length", d_ff, "blk.0.ffn_up.weight", (d_ff, d_model))
    n_heads, n_kv_heads, head_dim = _heads(meta, shapes)
    rotary_dim = meta.of_model("rope.dimension_count", int, head_dim)
    if not 0 < rotary_dim <= head_dim or rotary_dim % 2:
        raise ModelFormatError(
            f"metadata {meta.architecture}.rope.dimension_count: expected an even number up to "
            f"head_dim {head_dim}, found {rotary_dim}"
        )
    n_ctx = meta.of_model("context_length", int, 2048)
    if n_ctx < 1:
        raise ModelFormatError(f"metadata {meta.architecture}.context_length is {n_ctx}")
    return Config(
        architecture=meta.architecture,
        name=meta.get("general.name", str, ""),
        n_layers=n_layers,
        n_vocab=n_vocab,
        n_ctx=n_ctx,
        d_model=d_model,
        d_ff=d_ff,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        tied="output.weight" not in shapes,
        biases=tuple(m[1] for name in shapes if (m := re.fullmatch(r"blk\.0\.(\w+)\.bias", name))),
        norm_eps=meta.positive("attention.layer_norm_rms_epsilon", 1e-5),
        rotary_dim=rotary_dim,
        rope_base=meta.positive("rope.freq_base", 10000.0),
        rope_scaling=_rope_scaling(meta, n_ctx),
        rope_factors="rope_freqs.weight" in shapes,
    )


def _matrix(shapes: Shapes, name: str) -> tuple[int, int]:
    shape = shapes.get(name)
    if shape is None:
        raise ModelFormatError(f"tensor {name} is missing: the file holds no complete model")
    if len(shape) != 2 or 0 in shape:
        raise ModelFormatError(f"tensor {name}: expected two dimensions, found shape {shape}")
    if max(shape) > MOST_ELEMENTS:
        raise UnsupportedModelError(
            f"tensor {name}: shape {shape} has a dimension above {MOST_ELEMENTS}, the most that "
            "smelt computes with"
        )
    return shape[0], shape[1]


def _count_layers(meta: _Metadata, shapes: Shapes) -> int:
    layers = {int(m[1]) for name in shapes if (m := re.match(r"blk\.(\d{1,6})\.", name))}
    n_layers = len(layers)
    if n_layers == 0:
        raise ModelFormatError("the file has no layers: no tensor is named blk.0.*")
    missing = set(range(n_layers)) - layers
    if missing:
        raise ModelFormatError(
            f"layers {sorted(missing)[:5]} have no tensors, but layer {max(layers)} has"
        )
    stated = meta.of_model("block_count", int)
    if stated is not None and stated != n_layers:
        raise ModelFormatError(
            f"metadata says {meta.architecture}.block_count = {stated}, but the tensors have "
            f"{n_layers} layers; the file is incomplete or contradicts itself"
        )
    return n_layers


def _heads(meta: _Metadata, shapes: Shapes) -> tuple[int, int, int]:
    """(n_heads, n_kv_heads, head_dim) from the query and key projections."""
    q_shape, k_shape = (_matrix(shapes, f"blk.0.attn_{x}.weight") for x in "qk")
    q_dim, kv_dim = q_shape[0], k_shape[0]
    n_heads = meta.of_model("attention.head_count", int)
    if n_heads is None:
        raise ModelFormatError(f"metadata {meta.architecture}.attention.head_count is missing")
    if n_heads < 1 or q_dim % n_heads:
        raise ModelFormatError(
            f"metadata says {meta.architecture}.attention.head_count = {n_heads}, which does not "
            f"divide the {q_dim} rows of blk.0.attn_q.weight"
        )
    head_dim = q_dim // n_heads
    for part in ("key_length", "value_length"):
        meta.agree(f"attention.{part}", head_dim, "blk.0.attn_q.weight", q_shape)
    if kv_dim % head_dim:
        raise ModelFormatError(
            f"blk.0.attn_k.weight has {kv_dim} rows, not a multiple of head_dim {head_dim} "
            f"({q_dim} rows of blk.0.attn_q.weight / {n_heads} heads)"
        )
    n_kv_heads = kv_dim // head_dim
    meta.agree("attention.head_count_kv", n_kv_heads, "blk.0.attn_k.weight", k_shape)
    if n_heads % n_kv_heads:
        raise ModelFormatError(f"{n_heads} heads cannot share {n_kv_heads} key-value heads equally")
    return n_heads, n_kv_heads, head_dim


def _rope_scaling(meta: _Metadata, n_ctx: int) -> RopeScaling:
    """As llama.cpp reads it: silence is "linear", and a factor of 0 is none."""
    kind = meta.of_model("rope.scaling.type", str, "linear")
    if kind not in ("none", "linear", "yarn"):
        raise UnsupportedModelError(
            f"RoPE scaling {kind!r} is not supported; smelt knows none, linear and yarn"
        )
    factor = meta.of_model("rope.scaling.factor", float)
    if factor is None:  # the key of files before 2024
        factor = meta.of_model("rope.scale_linear", float, 1.0)
    if not (math.isfinite(factor) and factor >= 0):
        raise ModelFormatError(
            f"metadata {meta.architecture}.rope.scaling.factor: expected a positive number, "
            f"found {factor}"
        )
    attn_factor = meta.positive("rope.scaling.attn_factor", 1.0)
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return RopeScaling(attn_factor=attn_factor)
    ext_factor = meta.of_model("rope.scaling.yarn_ext_factor", float, 1.0)
    if not math.isfinite(ext_factor):
        raise ModelFormatError(
            f"metadata {meta.architecture}.rope.scaling.yarn_ext_factor: expected a number, "
            f"found {ext_factor}"
        )
    original = meta.of_model("rope.scaling.original_context_length", int, 0) or n_ctx
    if original < 1:
        raise ModelFormatError(
            f"metadata {meta.architecture}.rope.scaling.original_context_length is {original}"
        )
    return RopeScaling(
        type=kind,
        factor=factor or 1.0,
        original_n_ctx=original,
        ext_factor=ext_factor,
        attn_factor=attn_factor * meta.positive("rope.scaling.yarn_attn_factor", 1.0),
        beta_fast=meta.positive("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=meta.positive("rope.scaling.yarn_beta_slow", 1.0),
    )
