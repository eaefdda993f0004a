"""`smelt trace`: the table, the file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from smelt.trace import load_run

Smelt = Callable[..., tuple[int, str, str]]


def test_a_file(smelt: Smelt, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    code, out, err = smelt("trace", model, "the time", "-o", file, "--device", "cpu")
    assert (code, err) == (0, "")
    with load_run(file) as run:
        assert out.startswith(f"{file}: {len(run.names)} values, {run.n_tokens} tokens on cpu")
        assert out.count("\n") == 1 and "blk.1.kq_softmax" in run


def test_statistics_as_a_table(smelt: Smelt, model: Path) -> None:
    code, out, _ = smelt("trace", model, "-p", "the time", "--stats", "--unfused")
    lines = out.splitlines()
    assert code == 0 and "unfused" in lines[0]
    assert lines[1].split() == ["value", "op", "shape", "rms", "min", "max", "mean", "zeros"]
    assert lines[2].split()[:2] == ["rope_table", "rope_table"]
    assert any(line.split()[:2] == ["blk.1.kq", "attention_scores"] for line in lines)
    assert smelt("trace", model, "the time", "--unfused")[1] == out  # without a file the same


def test_json(smelt: Smelt, model: Path) -> None:
    _, out, _ = smelt("trace", model, "the", "--json", "--pattern", "blk.0.ffn_*", "--fused")
    report = json.loads(out)
    assert [value["name"] for value in report["values"]] == ["blk.0.ffn_inp", "blk.0.ffn_swiglu"]
    assert report["fused"] and report["file"] is None and len(report["token_ids"]) == 2
    first = report["values"][0]
    assert first["op"] == "matmul_add" and first["min"] < first["mean"] < first["max"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["the", "--pattern", "x*"], 1, "no value's name matches x*"),
        (["the", "--fused", "--unfused"], 2, "not allowed with argument"),
        (["the", "-o", "."], 2, "-o . is a folder"),
        (["the", "-o", "missing/run.npz"], 1, "No such file or directory"),
        (["the", "-p", "the"], 2, "the text is given twice"),
    ],
)
def test_refusals(
    smelt: Smelt,
    model: Path,
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = smelt("trace", model, *arguments)
    assert (status, out) == (code, "") and message in err
