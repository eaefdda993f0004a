"""Sizes by depth, and two runs compared: the numbers that are drawn are those of the runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from small_engine import SMALL, prompt_ids
from smelt import Engine
from smelt.diff import compare
from smelt.report.depth import ErrorByDepth, band, error_by_depth, row_rms
from smelt.report.pictures import error_picture
from smelt.trace import Run
from tiny_model import write_tiny_llama


def test_the_rms_is_of_a_row() -> None:
    x = np.array([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]], np.float32)
    assert row_rms(x).tolist() == [2.5, 1.0]


def test_large_numbers_do_not_overflow() -> None:
    assert row_rms(np.full((1, 3), 1e30, np.float32))[0] == pytest.approx(1e30, rel=1e-6)


def test_a_band_is_over_the_tokens() -> None:
    found = band(iter([np.array([[1.0], [-5.0], [3.0]]), np.array([[2.0], [2.0], [2.0]])]))
    assert found.middle.tolist() == [3, 2]
    assert found.lowest.tolist() == [1, 2]
    assert found.highest.tolist() == [5, 2]


def traced(path: Path) -> Run:
    with Engine(path, device="cpu", threads=1) as engine:
        return engine.trace(prompt_ids(9), fused=False)


@pytest.fixture(scope="module")
def runs(path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The small model, and the same with another down projection in all layers."""
    options = SMALL | {"formats": {"ffn_down": "f32"}}
    other = write_tiny_llama(tmp_path_factory.mktemp("other") / "other.gguf", **options)
    return traced(other), traced(path)


def test_error_by_depth_is_the_diff(runs: tuple[Run, Run]) -> None:
    a, b = runs
    diff = compare(a, b)
    found = error_by_depth(diff)
    assert list(found.ops) == [value.name for value in b.values if value.name in a]
    assert len(found.ops) == len(found.errors) == len(found.layers) == len(found.tolerance)
    for at, name in enumerate(found.ops):
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        assert found.rms_a[at] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-12), name
        assert found.rms_b[at] == pytest.approx(np.sqrt(np.mean(y**2)), rel=1e-12), name
        assert (found.errors[at] == 0) == np.array_equal(x, y), name
    assert diff.first is not None and found.first is not None
    assert found.ops[found.first] == diff.first.value.name == "blk.0.ffn_out"
    assert found.errors[found.first] > found.tolerance[found.first]
    assert found.name_a == "other.gguf on cpu, " + a.info.device.split(", ")[1]
    picture = error_picture(found)
    assert "blk.0.ffn_out" in picture.here
    assert "other.gguf" in picture.caption and "tiny.gguf" in picture.caption


def test_what_is_not_finite_in_one_run_is_infinitely_far(runs: tuple[Run, Run]) -> None:
    a, b = runs
    diff = compare(a, b)
    at = [d.value.name for d in diff.differences].index("blk.0.ffn_out")
    diff.differences[at].distance.n_bad_differ = 1
    found = error_by_depth(diff)
    assert found.errors[at] == np.inf and found.first == at
    assert error_picture(found).here.endswith("blk.0.ffn_out: it gave NaN or infinity.")
    pytest.importorskip("matplotlib")
    upper, _ = error_picture(found).draw().axes
    assert any(list(line.get_xdata()) == [at, at] for line in upper.get_lines())


def test_equal_runs(runs: tuple[Run, Run]) -> None:
    found: ErrorByDepth = error_by_depth(compare(runs[0], runs[0]))
    assert set(found.errors) == {0.0} and found.first is None
    assert error_picture(found).here == "Every op is within its tolerance."
