"""Files quantised by smelt beside llama.cpp's, both made from the F16 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from measure import Oracle

from smelt import Engine, quantize

MIXTURES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_perplexity(
    oracle_of: Callable[[str], Oracle], shared: Path, tmp_path: Path, mixture: str
) -> None:
    """Not above llama.cpp's by more than 0.2 %, and the file is not larger."""
    oracle = oracle_of(f"prose-code-7m-{mixture}")
    path = tmp_path / f"{mixture}.gguf"
    quantize(shared / "models" / "prose-code-7m-F16.gguf", path, mixture)
    assert path.stat().st_size <= oracle.path.stat().st_size
    with Engine(path, device="cpu") as engine:
        assert engine.perplexity(oracle.held).value <= 1.002 * oracle.perplexity[0]
