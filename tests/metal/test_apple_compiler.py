"""Apple's own compiler takes the kernels, where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import smelt

METAL = ["xcrun", "-sdk", "macosx", "metal"]
FLAGS = ["-std=metal3.0", "-mmacosx-version-min=13.0", "-fno-fast-math", "-Wall"]


@pytest.mark.skipif(sys.platform != "darwin", reason="Metal's compiler is for macOS")
def test_the_one_text_compiles(tmp_path: Path) -> None:
    """And with no loop left that the kernels want unrolled: its arrays would not be registers."""
    try:
        subprocess.run([*METAL, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Metal's compiler is missing: Xcode, or its component MetalToolchain")
    source = Path(smelt.__file__).parent / "smelt.metal"
    command = [*METAL, *FLAGS, "-c", str(source), "-o", str(tmp_path / "kernels.air")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loop not unrolled" not in done.stderr, done.stderr
