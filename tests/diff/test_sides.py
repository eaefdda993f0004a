"""The sides of a diff: how they are written, and what they become."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from smelt import DeviceError, Engine, SmeltError, _cpu
from smelt.diff import compare
from smelt.diff.sides import DEFAULT_PROMPT, open_sides, parse_side


@pytest.fixture
def dump(path: Path, tmp_path: Path) -> Path:
    """The logits of a prompt, with the file that says which."""
    with Engine(path, device="cpu", threads=1) as engine:
        ids = engine.tokenize("the time")
        np.savez(tmp_path / "dump.npz", **{"p/logits": engine.logits(ids)})
    facts = {"p": {"prompt": "the time", "prompt_tokens": ids}}
    (tmp_path / "dump.json").write_text(json.dumps(facts))
    return tmp_path / "dump.npz"


def test_options(path: Path) -> None:
    side = parse_side(f"{path},device=cpu,isa=scalar,kv=f32,threads=1,fused")
    assert side.path == path and side.kind == "model"
    wanted = {"device": "cpu", "isa": "scalar", "kv": "f32", "threads": "1", "fused": ""}
    assert side.options == wanted
    assert parse_side(str(path)).options == {}


def test_a_comma_in_a_name(path: Path, tmp_path: Path) -> None:
    name = tmp_path / "model,fused"
    name.write_bytes(path.read_bytes())
    assert parse_side(str(name)).path == name and parse_side(str(name)).options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",colour=red", "'colour=red' is no option; there are device, isa, kv"),
        (",fused=yes", "'fused=yes' is no option"),
        (",device", "'device' is no option"),
        (",prompt=x", "is a model, for which there is no option prompt"),
    ],
)
def test_options_that_are_refused(path: Path, options: str, message: str) -> None:
    with pytest.raises(SmeltError, match=message):
        parse_side(f"{path}{options}")


def test_files_that_are_refused(path: Path, dump: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        parse_side("missing.gguf")
    with pytest.raises(SmeltError, match="is a dump, for which there is no option device"):
        parse_side(f"{dump},device=cpu")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK broken")
    with pytest.raises(SmeltError, match=r"broken\.npz: expected a \.npz file"):
        parse_side(str(broken))
    broken.write_bytes(b"text")
    with pytest.raises(SmeltError, match=r"expected a \.npz file, found one that begins with"):
        parse_side(str(broken))
    both = parse_side(str(dump)), parse_side(str(dump))
    with pytest.raises(SmeltError, match="are both dumps"):
        open_sides(both, None, tmp_path)
    dump.with_suffix(".json").unlink()
    sides = parse_side(str(path)), parse_side(str(dump))
    with pytest.raises(SmeltError, match=r"expected a file dump\.json beside it"):
        open_sides(sides, None, tmp_path)


def test_two_instruction_sets_in_one_process(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMELT_ISA", raising=False)
    widest = _cpu.instruction_sets()[-1]
    sides = parse_side(f"{path},isa=scalar,fused"), parse_side(f"{path},isa={widest}")
    a, b = open_sides(sides, "the time", tmp_path)
    with a, b:
        assert "scalar" in a.info.device and widest in b.info.device
        assert a.info.fused and not b.info.fused
        assert compare(a, b).first is None
    assert "SMELT_ISA" not in os.environ
    reference = parse_side(f"{path},isa=scalar,device=reference")
    with pytest.raises(SmeltError, match="isa=scalar is for the device cpu"):
        open_sides((reference, sides[1]), None, tmp_path)
    monkeypatch.setenv("SMELT_ISA", widest)
    with pytest.raises(DeviceError, match="SMELT_ISA=none"):
        open_sides((parse_side(f"{path},isa=none"), sides[1]), None, tmp_path)
    assert os.environ["SMELT_ISA"] == widest


def test_the_prompt_is_that_of_a_run_or_a_dump(path: Path, dump: Path, tmp_path: Path) -> None:
    with Engine(path, device="cpu", threads=1) as engine:
        engine.trace("once upon", path=tmp_path / "run.npz").close()
        texts = {"run.npz": "once upon", "dump.npz": "the time", None: DEFAULT_PROMPT}
        ids = {name: engine.tokenize(text) for name, text in texts.items()}
    model = parse_side(f"{path},kv=f32,threads=1")
    for name in ("run.npz", "dump.npz"):
        for sides in (
            (parse_side(str(tmp_path / name)), model),
            (model, parse_side(str(tmp_path / name))),
        ):
            a, b = open_sides(sides, None, tmp_path)
            with a, b:
                assert a.info.token_ids == b.info.token_ids == ids[name]
                assert compare(a, b).first is None
    a, b = open_sides((model, model), None, tmp_path)
    with a, b:
        assert a.info.token_ids == ids[None]
