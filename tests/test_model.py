"""A model file made ready to record: what is refused before anything runs."""

from pathlib import Path

import pytest

from smelt.errors import UnsupportedModelError
from smelt.model import Model
from tiny_model import write_tiny_llama


def with_extra_tensor(path: Path, name: str) -> Model:
    model = Model(write_tiny_llama(path / "tiny.gguf"))
    model.weights = {**model.weights, name: model.weights["output_norm.weight"]}
    return model


def test_a_tensor_that_nothing_uses_is_refused_by_name(tmp_path: Path) -> None:
    """A Llama with query norms is another architecture, whatever its metadata call it."""
    model = with_extra_tensor(tmp_path, "blk.0.attn_q_norm.weight")
    with pytest.raises(UnsupportedModelError, match=r"tiny\.gguf.*1 .*blk\.0\.attn_q_norm\.weight"):
        model.record(64)


def test_tables_that_follow_from_the_metadata_may_be_there(tmp_path: Path) -> None:
    model = with_extra_tensor(tmp_path, "blk.0.attn_rot_embd.weight")
    assert model.record(64)
