"""infer_config: dimensions come from the shapes, and metadata that says otherwise is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small_config import Shapes, metadata_of, shapes_of
from smelt.config import Config, RopeScaling, infer_config
from smelt.errors import ModelFormatError, SmeltError, UnsupportedModelError

# every key whose value the shapes decide: what shapes_of() says, and the tensor that says it
INFERRED = {
    "embedding_length": (64, "token_embd.weight"),
    "vocab_size": (300, "token_embd.weight"),
    "feed_forward_length": (160, "blk.0.ffn_up.weight"),
    "block_count": (2, "layers"),
    "attention.head_count_kv": (2, "blk.0.attn_k.weight"),
    "attention.key_length": (16, "blk.0.attn_q.weight"),
    "attention.value_length": (16, "blk.0.attn_q.weight"),
}
POSITIVE = [
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
]
SCALING_POSITIVE = [
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
]


def test_minimal_metadata_is_enough() -> None:
    config = infer_config(metadata_of(), shapes_of())
    assert config.rope_scaling.factor == 1.0
    assert replace(config, rope_scaling=RopeScaling()) == Config(
        architecture="llama",
        name="",
        n_layers=2,
        n_vocab=300,
        n_ctx=2048,
        d_model=64,
        d_ff=160,
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        tied=False,
        norm_eps=1e-5,
        rotary_dim=16,
        rope_base=10000.0,
        rope_scaling=RopeScaling(),
        rope_factors=False,
    )
    assert (config.q_dim, config.kv_dim) == (64, 32)


def test_tinyllama() -> None:
    shapes = shapes_of(d_model=2048, n_layers=22, q_dim=2048, kv_dim=256, d_ff=5632, n_vocab=32000)
    config = infer_config(metadata_of(attention__head_count=32, context_length=2048), shapes)
    assert (config.kv_dim, config.d_ff) == (256, 5632)
    assert (config.n_layers, config.n_heads, config.n_kv_heads, config.head_dim) == (22, 32, 4, 64)


def test_llama_3_8b() -> None:
    shapes = shapes_of(
        d_model=4096, n_layers=32, q_dim=4096, kv_dim=1024, d_ff=14336, n_vocab=128256
    )
    shapes["rope_freqs.weight"] = (64,)
    metadata = metadata_of(
        attention__head_count=32,
        attention__head_count_kv=8,
        context_length=131072,
        rope__freq_base=500000.0,
        rope__dimension_count=128,
        vocab_size=128256,
    )
    config = infer_config(metadata, shapes)
    assert (config.n_kv_heads, config.head_dim, config.kv_dim) == (8, 128, 1024)
    assert (config.n_ctx, config.rope_base, config.rope_factors) == (131072, 500000.0, True)


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "head_dim"),
    [(4, 4, 16), (4, 2, 16), (4, 1, 16), (1, 1, 64), (3, 1, 24), (4, 2, 40), (6, 3, 8)],
)
def test_heads(n_heads: int, n_kv_heads: int, head_dim: int) -> None:
    shapes = shapes_of(q_dim=n_heads * head_dim, kv_dim=n_kv_heads * head_dim)
    config = infer_config(metadata_of(attention__head_count=n_heads), shapes)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (n_heads, n_kv_heads, head_dim)
    assert config.rotary_dim == head_dim


@pytest.mark.parametrize("tied", [True, False])
def test_tied(tied: bool) -> None:
    assert infer_config(metadata_of(), shapes_of(tied=tied)).tied is tied


def test_biases_are_told_and_change_nothing_else() -> None:
    shapes = shapes_of() | {"blk.0.attn_q.bias": (64,), "blk.1.ffn_up.bias": (160,)}
    config = infer_config(metadata_of(), shapes)
    assert config.biases == ("attn_q",)
    assert dataclasses.replace(config, biases=()) == infer_config(metadata_of(), shapes_of())


def test_pure() -> None:
    metadata, shapes = metadata_of(rope__freq_base=7.0), shapes_of()
    before = copy.deepcopy((metadata, shapes))
    first = infer_config(MappingProxyType(metadata), MappingProxyType(shapes))
    assert infer_config(metadata, dict(reversed(shapes.items()))) == first
    assert (metadata, shapes) == before


@pytest.mark.parametrize("key", INFERRED)
def test_agreeing_metadata(key: str) -> None:
    metadata = metadata_of() | {f"llama.{key}": INFERRED[key][0]}
    assert infer_config(metadata, shapes_of()) == infer_config(metadata_of(), shapes_of())


@pytest.mark.parametrize("key", INFERRED)
@pytest.mark.parametrize("wrong", [1, -1, 0, 8192, 2**63])
def test_contradicting_metadata(key: str, wrong: int) -> None:
    inferred, tensor = INFERRED[key]
    with pytest.raises(ModelFormatError) as caught:
        infer_config(metadata_of() | {f"llama.{key}": wrong}, shapes_of())
    message = str(caught.value)
    assert f"llama.{key} = {wrong}" in message
    assert str(inferred) in message.replace(f"= {wrong}", "")
    assert tensor in message


@pytest.mark.parametrize("n_heads", [0, -4, 5, 65, 2**63])
def test_head_count_that_does_not_divide(n_heads: int) -> None:
    with pytest.raises(ModelFormatError, match=r"head_count = -?\d+.* 64 rows of blk\.0\.attn_q"):
        infer_config(metadata_of(attention__head_count=n_heads), shapes_of())


def test_head_count_that_contradicts_the_keys() -> None:
    # 16 heads of 4: blk.0.attn_k would have 8 key-value heads, but the metadata says 2
    metadata = metadata_of(attention__head_count=16, attention__head_count_kv=2)
    with pytest.raises(ModelFormatError, match=r"head_count_kv = 2, but .*\(32, 64\) says 8"):
        infer_config(metadata, shapes_of())


@pytest.mark.parametrize(
    ("q_dim", "kv_dim"),
    [(64, 33), (64, 8), (64, 48), (64, 128)],
    ids=["no whole head", "half a head", "4 heads share 3", "more keys than queries"],
)
def test_heads_that_cannot_be(q_dim: int, kv_dim: int) -> None:
    with pytest.raises(ModelFormatError):
        infer_config(metadata_of(), shapes_of(q_dim=q_dim, kv_dim=kv_dim))


@pytest.mark.parametrize(
    "sizes",
    [{"q_dim": 0}, {"kv_dim": 0}, {"q_dim": 0, "kv_dim": 0}, {"d_ff": 0}, {"d_model": 0}],
    ids=str,
)
def test_weights_without_rows(sizes: dict[str, Any]) -> None:
    with pytest.raises(ModelFormatError):
        infer_config(metadata_of(), shapes_of(**sizes))


def test_missing_head_count() -> None:
    metadata = metadata_of()
    del metadata["llama.attention.head_count"]
    with pytest.raises(ModelFormatError, match=r"llama\.attention\.head_count is missing"):
        infer_config(metadata, shapes_of())


@pytest.mark.parametrize(
    "name",
    ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.ffn_up.weight"],
)
@pytest.mark.parametrize("shape", [None, (), (64,), (1, 64, 64)])
def test_missing_or_misshapen_tensor(name: str, shape: tuple[int, ...] | None) -> None:
    shapes = shapes_of()
    del shapes[name]
    if shape is not None:
        shapes[name] = shape
    with pytest.raises(ModelFormatError, match=name.replace(".", r"\.")) as caught:
        infer_config(metadata_of(), shapes)
    assert ("missing" if shape is None else str(shape)) in str(caught.value)


def test_no_layers() -> None:
    with pytest.raises(ModelFormatError, match="no layers"):
        infer_config(metadata_of(), shapes_of(n_layers=0))


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_hole_in_the_layers(gone: int) -> None:
    shapes = shapes_of(n_layers=5)
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(f"blk.{gone}.")}
    with pytest.raises(ModelFormatError, match=rf"\[{gone}\].*layer 4"):
        infer_config(metadata_of(), shapes)


def test_the_last_layer_is_gone() -> None:
    shapes = shapes_of(n_layers=4)
    with pytest.raises(ModelFormatError, match=r"block_count = 5.* 4 layers"):
        infer_config(metadata_of(block_count=5), shapes)


@pytest.mark.parametrize("number", [999999, 10**6, 10**30])
def test_absurd_layer_numbers(number: int) -> None:
    shapes = shapes_of() | {f"blk.{number}.attn_q.weight": (64, 64)}
    try:
        assert infer_config(metadata_of(), shapes).n_layers == 2
    except ModelFormatError as error:
        assert "layer" in str(error)


# --- values of one layer each


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_arrays_of_equal_values(dtype: type) -> None:
    metadata = metadata_of(
        attention__head_count=np.array([4, 4], dtype),
        attention__head_count_kv=np.array([2, 2], dtype),
        feed_forward_length=np.array([160, 160], dtype),
        rope__freq_base=np.array([5.0, 5.0], np.float32),
    )
    config = infer_config(metadata, shapes_of())
    assert (config.n_heads, config.n_kv_heads, config.rope_base) == (4, 2, 5.0)
    assert type(config.n_heads) is int


@pytest.mark.parametrize(
    "key", ["attention.head_count", "attention.head_count_kv", "feed_forward_length"]
)
def test_arrays_that_differ(key: str) -> None:
    right = 4 if key == "attention.head_count" else INFERRED[key][0]
    metadata = metadata_of() | {f"llama.{key}": np.array([right, right // 2])}
    with pytest.raises(UnsupportedModelError, match=f"{key} differs from layer to layer"):
        infer_config(metadata, shapes_of())


def test_arrays_of_equal_wrong_values() -> None:
    metadata = metadata_of(feed_forward_length=np.array([8192, 8192]))
    with pytest.raises(ModelFormatError, match=r"8192.* 160"):
        infer_config(metadata, shapes_of())


# --- values out of range


@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", POSITIVE)
def test_what_must_be_positive(key: str, value: float) -> None:
    with pytest.raises(ModelFormatError, match=rf"llama\.{key}: expected a positive number"):
        infer_config(metadata_of() | {f"llama.{key}": value}, shapes_of())


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("key", SCALING_POSITIVE)
def test_scaling_that_must_be_positive(key: str, value: float) -> None:
    metadata = metadata_of(rope__scaling__type="yarn", rope__scaling__factor=2.0)
    with pytest.raises(ModelFormatError, match=rf"llama\.{key}: expected a positive number"):
        infer_config(metadata | {f"llama.{key}": value}, shapes_of())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_yarn_ext_factor_must_be_a_number(value: float) -> None:
    metadata = metadata_of(rope__scaling__type="yarn", rope__scaling__yarn_ext_factor=value)
    with pytest.raises(ModelFormatError, match="yarn_ext_factor"):
        infer_config(metadata, shapes_of())


@pytest.mark.parametrize("value", [-1, -(2**31)])
def test_original_context_must_be_positive(value: int) -> None:
    metadata = metadata_of(rope__scaling__type="yarn", rope__scaling__original_context_length=value)
    with pytest.raises(ModelFormatError, match="original_context_length"):
        infer_config(metadata, shapes_of())


@pytest.mark.parametrize("value", [0, -2, 7, 17, 18, 2**40])
def test_rotary_dimensions(value: int) -> None:
    with pytest.raises(ModelFormatError, match=rf"head_dim 16, found {value}"):
        infer_config(metadata_of(rope__dimension_count=value), shapes_of())


def test_odd_head_dim_has_no_rotation() -> None:
    shapes = shapes_of(q_dim=60, kv_dim=30)
    with pytest.raises(ModelFormatError, match="even number"):
        infer_config(metadata_of(), shapes)
    assert infer_config(metadata_of(rope__dimension_count=14), shapes).rotary_dim == 14


@pytest.mark.parametrize("value", [0, -1])
def test_context_length(value: int) -> None:
    with pytest.raises(ModelFormatError, match=f"context_length.*{value}"):
        infer_config(metadata_of(context_length=value), shapes_of())


def test_mixture_of_experts() -> None:
    with pytest.raises(UnsupportedModelError, match="expert"):
        infer_config(metadata_of(expert_count=8), shapes_of())
    assert infer_config(metadata_of(expert_count=0), shapes_of()).n_layers == 2


def test_unknown_rope_scaling() -> None:
    with pytest.raises(UnsupportedModelError, match="longrope"):
        infer_config(metadata_of(rope__scaling__type="longrope"), shapes_of())


@pytest.mark.parametrize("key", [*INFERRED, *POSITIVE, "context_length", "attention.head_count"])
@pytest.mark.parametrize("value", ["4", True, [4], [[4]], b"4", np.array([]), np.array(["4"])])
def test_wrong_types(key: str, value: object) -> None:
    with pytest.raises(SmeltError, match=key.replace(".", r"\.")):
        infer_config(metadata_of() | {f"llama.{key}": value}, shapes_of())


def test_a_number_too_large_for_a_float() -> None:
    with pytest.raises(ModelFormatError, match="freq_base"):
        infer_config(metadata_of(rope__freq_base=10**400), shapes_of())


# --- anything

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.integers(-3, 70) | st.booleans()
ARRAYS = st.one_of(
    st.lists(st.integers(0, 5), max_size=4).map(lambda items: np.array(items, np.int32)),
    st.lists(st.floats(width=32), max_size=4).map(lambda items: np.array(items, np.float32)),
    st.lists(st.booleans(), max_size=4).map(lambda items: np.array(items, bool)),
    st.integers(0, 200).map(lambda item: np.array([item, item], np.uint64)),
    st.lists(st.lists(st.integers(), max_size=2), max_size=2),
)
VALUES = NUMBERS | ARRAYS | st.text(max_size=5) | st.sampled_from(["none", "linear", "yarn"])
KEYS = [
    "general.architecture",
    "general.name",
    *(f"llama.{key}" for key in (*INFERRED, *POSITIVE, *SCALING_POSITIVE)),
    "llama.attention.head_count",
    "llama.context_length",
    "llama.expert_count",
    "llama.rope.dimension_count",
    "llama.rope.scale_linear",
    "llama.rope.scaling.type",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scaling.yarn_ext_factor",
]
DIMENSIONS = st.integers(0, 4) | st.sampled_from([16, 32, 64, 160, 300, 2**62])


@settings(deadline=None, max_examples=400)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    st.dictionaries(
        st.sampled_from(sorted(shapes_of())),
        st.lists(DIMENSIONS, max_size=3).map(tuple),
        max_size=3,
    ),
    st.sets(st.sampled_from(sorted(shapes_of())), max_size=2),
)
@example({}, {"blk.0.attn_k.weight": (0, 64)}, set())
@example({"llama.rope.scaling.type": "yarn", "llama.rope.freq_base": 1.0}, {}, set())
def test_anything_gives_a_config_or_a_smelt_error(
    metadata: dict[str, object], shapes: Shapes, missing: set[str]
) -> None:
    every = {k: v for k, v in (shapes_of() | shapes).items() if k not in missing}
    try:
        config = infer_config(metadata_of() | metadata, every)
    except SmeltError as error:
        assert str(error)
    else:
        sizes = (config.d_model, config.d_ff, config.n_vocab, config.n_layers, config.n_ctx)
        assert min(*sizes, config.n_heads, config.n_kv_heads, config.head_dim) >= 1
        assert config.n_heads % config.n_kv_heads == 0
        assert config.rotary_dim % 2 == 0 and 0 < config.rotary_dim <= config.head_dim
        assert all(math.isfinite(x) and x > 0 for x in (config.norm_eps, config.rope_base))
        assert all(type(x) is int for x in sizes)


@settings(deadline=None)
@given(
    n_kv_heads=st.integers(1, 8),
    group=st.integers(1, 8),
    head_dim=st.integers(1, 64).map(lambda n: 2 * n),
    d_model=st.integers(1, 5000),
    d_ff=st.integers(1, 20000),
    n_vocab=st.integers(1, 300000),
    n_layers=st.integers(1, 12),
    tied=st.booleans(),
)
def test_every_sound_model_is_recognised(
    n_kv_heads: int,
    group: int,
    head_dim: int,
    d_model: int,
    d_ff: int,
    n_vocab: int,
    n_layers: int,
    tied: bool,
) -> None:
    n_heads = n_kv_heads * group
    shapes = shapes_of(
        d_model=d_model,
        n_layers=n_layers,
        q_dim=n_heads * head_dim,
        kv_dim=n_kv_heads * head_dim,
        d_ff=d_ff,
        n_vocab=n_vocab,
        tied=tied,
    )
    config = infer_config(metadata_of(attention__head_count=n_heads), shapes)
    assert (config.d_model, config.d_ff, config.n_vocab) == (d_model, d_ff, n_vocab)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (n_heads, n_kv_heads, head_dim)
    assert (config.n_layers, config.tied) == (n_layers, tied)


@pytest.mark.parametrize(
    "tensor", ["token_embd.weight", "blk.0.ffn_up.weight", "blk.0.attn_q.weight"]
)
def test_dimensions_beyond_what_kernels_count_are_refused(tensor: str) -> None:
    """A sparse file can hold such a matrix; its rows would not fit 32-bit offsets."""
    shapes = shapes_of() | {tensor: (2**24 + 64, 64)}
    with pytest.raises(UnsupportedModelError, match=rf"{tensor}.*16777280.*16777216"):
        infer_config(metadata_of(), shapes)
