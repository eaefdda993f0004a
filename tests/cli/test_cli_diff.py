"""`smelt diff`: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smelt import Engine
from smelt.trace import Run
from smelt.trace.run_file import Writer

Smelt = Callable[..., tuple[int, str, str]]
TEXT = "the time once"


@pytest.fixture(scope="module")
def right(model: Path) -> Run:
    with Engine(model, device="cpu", threads=1) as engine:
        return engine.trace(TEXT)


def written(run: Run, path: Path, **changed: Any) -> Path:
    """A run file; changed: other arrays for some values."""
    writer = Writer(path)
    for name in run.names:
        writer.add(name, 0, changed.get(name.replace(".", "_"), run[name]))
    writer.finish(run.info, run.values, run.statistics).close()
    return path


@pytest.fixture(scope="module")
def wrong(right: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """k_rope of layer 1 with its pairs the wrong way round."""
    turned = right["blk.1.k_rope"][..., ::-1]
    return written(right, tmp_path_factory.mktemp("run") / "wrong.npz", blk_1_k_rope=turned)


def test_a_model_against_the_reference(smelt: Smelt, model: Path) -> None:
    code, out, err = smelt("diff", f"{model},device=cpu,threads=1", "-p", TEXT)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert " tokens compared, " in lines[0] and lines[0].endswith(" equal: all within tolerance")
    assert lines[1].split()[0] == "A" and " on cpu, " in lines[1]
    assert lines[2].split()[0] == "B" and " on reference, " in lines[2]
    head = next(at for at, line in enumerate(lines) if line.split()[:1] == ["value"])
    assert lines[head].split()[:4] == ["value", "op", "error", "allowed"]
    roles = [line.split()[0].rpartition(".")[2] for line in lines[head + 1 :]]
    assert roles[:4] == ["rope_table", "embed", "attn_norm", "q"] and roles[-1] == "logits"
    assert len(roles) == len(set(roles)) == 25  # one line a role, not a layer


def test_the_same_bits_need_no_table(smelt: Smelt, model: Path) -> None:
    side = f"{model},isa=scalar,threads=1"
    code, out, _ = smelt("diff", side, side.replace("threads=1", "threads=2"))
    assert code == 0 and len(out.splitlines()) == 3
    assert out.splitlines()[0].endswith("compared, all equal: all within tolerance")


def test_the_first_wrong_op(smelt: Smelt, model: Path, wrong: Path, right: Run) -> None:
    code, out, err = smelt("diff", wrong, f"{model},device=cpu,threads=1")
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert lines[0].endswith(": 1 op out of tolerance")
    assert "first: blk.1.k_rope, rope of layer 1" in lines
    facts = {line.split()[0]: line.strip() for line in lines[4:12] if line.strip()}
    assert "blk.1.k 0, rope_table 0" in facts["inputs"]
    assert " in A, " in facts["largest"] and ", element [" in facts["largest"]
    assert facts["so"].endswith("the fault is in A's rope")
    rows = {line.split()[0]: line.split()[-1] for line in lines if line.startswith("  blk.")}
    assert rows["blk.1.k_rope"] == "WRONG" and rows["blk.1.kq"] == "follows"
    assert len(rows) < 16
    everything = smelt("diff", wrong, f"{model},device=cpu,threads=1", "--all")[1]
    assert len(everything.splitlines()) > len(right.names)


def test_json(smelt: Smelt, model: Path, wrong: Path, right: Run) -> None:
    code, out, _ = smelt("diff", wrong, f"{model},device=cpu", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["first"]["value"] == "blk.1.k_rope" and report["at_fault"] == "a"
    assert report["first"]["error"] > report["first"]["allowed"]
    assert [value["value"] for value in report["values"]] == right.names
    code, out, _ = smelt("diff", f"{model},device=cpu", f"{model},device=cpu,fused", "--json")
    report = json.loads(out)
    assert (code, report["first"], report["at_fault"]) == (0, None, None)


def test_what_is_not_finite(smelt: Smelt, model: Path, right: Run, tmp_path: Path) -> None:
    spoilt = right["blk.0.ffn_up"].copy()
    spoilt[2, 7] = np.nan
    path = written(right, tmp_path / "nan.npz", blk_0_ffn_up=spoilt)
    code, out, _ = smelt("diff", path, f"{model},device=cpu")
    assert code == 1
    token = repr(right.info.token_texts[2])
    assert f"first in A's blk.0.ffn_up (matmul), token 2 {token}, element [7]" in out


def test_tolerance_and_pattern(smelt: Smelt, model: Path, wrong: Path) -> None:
    sides = (wrong, f"{model},device=cpu")
    assert smelt("diff", *sides, "--tolerance", "1e9")[0] == 0
    assert smelt("diff", *sides, "--pattern", "blk.0.*")[0] == 0
    assert smelt("diff", *sides, "--pattern", "blk.1.k*")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.gguf"], 1, "missing.gguf: No such file or directory"),
        (["{model},device=abacus"], 1, "device 'abacus' is not known"),
        (["{model},x=1"], 1, "'x=1' is no option"),
        (["{wrong}"], 2, "B is needed where A is no model"),
        (["{model}", "--tolerance", "-1"], 2, "expected a number above 0"),
        (["{wrong}", "{model}", "-p", "a", "-f", "b"], 2, "not allowed with argument"),
    ],
)
def test_refusals(
    smelt: Smelt, model: Path, wrong: Path, arguments: list[str], code: int, message: str
) -> None:
    given = [argument.format(model=model, wrong=wrong) for argument in arguments]
    status, out, err = smelt("diff", *given)
    assert (status, out) == (code, "") and message in err
