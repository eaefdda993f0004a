"""Which format a tensor gets: llama.cpp's own files, and its rules where no file shows them."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from smelt.gguf_file import GGUFFile
from smelt.mixtures import MIXTURES, choose_formats

LIKE_LLAMA_CPP = [
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_1",
    "Q5_0",
    "Q4_K_M",
    "Q4_1",
    "Q4_0",
    "Q3_K_M",
    "Q2_K",
]


def model(
    n_layers: int = 8, n_in: int = 256, heads: tuple[int, int] = (4, 2), tied: bool = False
) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """Metadata and shapes of a Llama; its tensors are in the alphabet's order, as in many files."""
    metadata = {
        "general.architecture": "llama",
        "llama.attention.head_count": heads[0],
        "llama.attention.head_count_kv": heads[1],
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (512, n_in)}
    for layer in sorted(range(n_layers), key=str):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            shapes[f"blk.{layer}.{part}.weight"] = (n_in, n_in)
        shapes[f"blk.{layer}.attn_norm.weight"] = (n_in,)
        shapes[f"blk.{layer}.attn_q.bias"] = (n_in,)
    shapes["output_norm.weight"] = (n_in,)
    if not tied:
        shapes["output.weight"] = (512, n_in)
    return metadata, shapes


def formats(mixture: str, part: str, **options: object) -> list[str]:
    """Of a part of every layer, by layer."""
    metadata, shapes = model(**options)  # type: ignore[arg-type]
    chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
    n_layers = sum(name.endswith("attn_q.weight") for name in shapes)
    return [chosen[f"blk.{layer}.{part}.weight"].format for layer in range(n_layers)]


@pytest.mark.parametrize("mixture", LIKE_LLAMA_CPP)
def test_as_in_llama_cpp_s_files(shared: Path, mixture: str) -> None:
    models = shared / "models"
    with (
        GGUFFile(models / "prose-code-7m-F16.gguf") as source,
        GGUFFile(models / f"prose-code-7m-{mixture}.gguf") as made,
    ):
        shapes = {name: tensor.shape for name, tensor in source.tensors.items()}
        chosen = choose_formats(MIXTURES[mixture], source.metadata, shapes)
        found = {name: t.format for name, t in made.tensors.items() if t.format != "f32"}
        assert {name: choice.format for name, choice in chosen.items()} == found
        assert made.metadata["general.file_type"] == MIXTURES[mixture].file_type


def test_file_types_are_those_of_gguf() -> None:
    for mixture in MIXTURES.values():
        assert gguf.LlamaFileType[f"MOSTLY_{mixture.name}"] == mixture.file_type


@pytest.mark.parametrize("mixture", MIXTURES)
def test_vectors_stay_and_matrices_change(mixture: str) -> None:
    metadata, shapes = model()
    chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
    assert set(chosen) == {name for name, shape in shapes.items() if len(shape) == 2}
    assert not any(choice.is_fallback for choice in chosen.values())
    assert chosen["blk.3.attn_q.weight"].format == MIXTURES[mixture].format


def test_more_bits_at_the_ends_and_for_every_third() -> None:
    """Layers in the order of their numbers, ten behind nine."""
    q4, q6 = "q4_k", "q6_k"
    expected = [q6, q6, q4, q4, q6, q4, q4, q6, q4, q4, q6, q4, q4, q6, q6, q6]
    expected[13] = q6  # (13 - 2) % 3 == 2
    assert formats("Q4_K_M", "ffn_down", n_layers=16) == expected
    assert formats("Q4_K_M", "attn_v", n_layers=16) == expected
    assert formats("Q4_K_M", "attn_k", n_layers=16) == [q4] * 16


@pytest.mark.parametrize(
    ("mixture", "part", "expected"),
    [
        ("Q2_K_S", "ffn_down", ["q4_k"] * 2 + ["q2_k"] * 14),
        ("Q2_K_S", "attn_v", ["q2_k"] * 16),
        ("Q2_K", "attn_output", ["q3_k"] * 16),
        ("Q3_K_S", "ffn_down", ["q3_k"] * 16),
        ("Q3_K_M", "attn_v", ["q5_k"] * 2 + ["q4_k"] * 14),
        ("Q3_K_M", "ffn_down", ["q5_k"] + ["q4_k"] * 15),
        ("Q3_K_M", "attn_output", ["q4_k"] * 16),
        ("Q3_K_L", "attn_v", ["q5_k"] * 16),
        ("Q3_K_L", "ffn_down", ["q5_k"] * 16),
        ("Q3_K_L", "attn_output", ["q5_k"] * 16),
        ("Q4_K_S", "attn_v", ["q5_k"] * 4 + ["q4_k"] * 12),
        ("Q4_K_S", "ffn_down", ["q5_k"] * 2 + ["q4_k"] * 14),
        ("Q5_K_S", "ffn_down", ["q5_k"] * 16),
    ],
)
def test_rules_of_the_mixtures(mixture: str, part: str, expected: list[str]) -> None:
    assert formats(mixture, part, n_layers=16) == expected


@pytest.mark.parametrize("mixture", ["Q2_K", "Q2_K_S"])
def test_values_that_four_queries_share(mixture: str) -> None:
    assert formats(mixture, "attn_v", heads=(8, 2)) == ["q4_k"] * 8


def test_the_70b_model() -> None:
    assert set(formats("Q3_K_S", "attn_v", n_layers=80, heads=(64, 8))) == {"q5_k"}
    assert set(formats("Q4_K_M", "attn_v", n_layers=80, heads=(64, 8))) == {"q5_k", "q6_k"}


@pytest.mark.parametrize("mixture", ["Q2_K", "Q4_0", "Q4_K_M", "Q6_K", "Q8_0", "F16"])
def test_a_tied_embedding_is_treated_as_the_output(mixture: str) -> None:
    metadata, shapes = model(tied=True)
    chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
    expected = {"Q8_0": "q8_0", "F16": "f16"}.get(mixture, "q6_k")
    assert chosen["token_embd.weight"].format == expected


@pytest.mark.parametrize(
    ("mixture", "expected"),
    [
        ("Q2_K", "q4_0"),
        ("Q3_K_S", "q4_0"),
        ("Q4_K_S", "q5_0"),
        ("Q5_K_S", "q5_1"),
        ("Q6_K", "q8_0"),
    ],
)
def test_rows_of_no_256_weights(mixture: str, expected: str) -> None:
    metadata, shapes = model(n_in=288)
    chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
    assert chosen["blk.5.attn_q.weight"] == (expected, True)
    assert chosen["output.weight"].format == "q8_0"


@pytest.mark.parametrize("mixture", ["Q4_K_M", "Q8_0", "Q4_0"])
def test_rows_of_no_32_weights(mixture: str) -> None:
    metadata, shapes = model(n_in=172)
    chosen = choose_formats(MIXTURES[mixture], metadata, shapes)
    assert {choice.format for choice in chosen.values()} == {"f16"}
    assert all(choice.is_fallback for choice in chosen.values())


def test_experts_and_their_router() -> None:
    metadata, shapes = model(n_layers=2)
    metadata["llama.expert_count"] = 8
    shapes["blk.0.ffn_gate_inp.weight"] = (8, 256)
    shapes["blk.0.ffn_down_exps.weight"] = (8, 256, 256)
    chosen = choose_formats(MIXTURES["Q4_K_M"], metadata, shapes)
    assert "blk.0.ffn_gate_inp.weight" not in chosen
    assert chosen["blk.0.attn_v.weight"].format == "q8_0"
    assert chosen["blk.0.attn_k.weight"].format == "q8_0"
    assert chosen["blk.0.attn_output.weight"].format == "q5_k"
    assert chosen["blk.0.ffn_down_exps.weight"].format == "q4_k"


def test_heads_counted_a_layer_each() -> None:
    metadata, shapes = model()
    metadata["llama.attention.head_count_kv"] = [1] * 8
    chosen = choose_formats(MIXTURES["Q2_K"], metadata, shapes)
    assert chosen["blk.0.attn_v.weight"].format == "q4_k"


def test_a_vector_with_dimensions_of_one_is_a_vector() -> None:
    shapes = {"blk.0.attn_q.weight": (1, 256), "blk.0.attn_k.weight": (2, 1, 256)}
    assert list(choose_formats(MIXTURES["Q4_0"], {}, shapes)) == ["blk.0.attn_k.weight"]
