"""`smelt bench`: tables, JSON and pictures of a benchmark, and how it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smelt import limits
from smelt.benchmark import Session
from tiny_model import write_tiny_llama

Run = Callable[..., tuple[int, str, str]]
SHORT = ("--prompts", "8,40", "--batches", "1,3", "--generate", "2", "--rounds", "2")


@pytest.fixture(autouse=True)
def _less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "BYTES_A_THREAD", 1 << 18)


def test_json(smelt: Run, model: Path) -> None:
    code, out, err = smelt("bench", model, *SHORT, "--threads", "1", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["model"] == str(model) and report["n_rounds"] == 2
    cases = [(case["prompt"], case["batch"]) for case in report["cases"]]
    assert cases == [(8, 1), (40, 1), (8, 3)]
    decode = report["cases"][0]["decode"]
    assert decode["n"] == 4 and decode["fraction"] == decode["median"] / decode["limit"]
    assert set(report["limits"]) == {"read", "fma", "dot"}


def test_tables(smelt: Run, model: Path) -> None:
    code, out, err = smelt("bench", model, *SHORT, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "a step" in out and "this machine" in out
    for title in ("prefill, tokens/s", "decode, tokens/s"):
        lines = out[out.index(title) :].splitlines()
        assert lines[1].split() == ["prompt", "batch", "median", "quartiles", "limit", "reached"]
        assert [line.split()[:2] for line in lines[2:5]] == [["8", "1"], ["40", "1"], ["8", "3"]]
        assert all(line.endswith("%") for line in lines[2:5])


def test_a_device_whose_limits_are_not_known(smelt: Run, model: Path) -> None:
    arguments = ("--prompts", "4", "--batches", "1", "--generate", "1", "--rounds", "1")
    code, out, _ = smelt("bench", model, "--device", "reference", *arguments)
    assert code == 0 and "this machine" not in out and "%" not in out and "limit" not in out


def test_usual_prompts_fit_the_model(smelt: Run, tmp_path: Path) -> None:
    once = ("--batches", "1", "--rounds", "1", "--json")
    for n_ctx, expected in ((100, [84]), (200, [128]), (528, [128, 512])):
        path = write_tiny_llama(tmp_path / f"{n_ctx}.gguf", n_ctx=n_ctx, n_layers=1)
        code, out, err = smelt("bench", path, *once)
        assert (code, err) == (0, "")
        assert [case["prompt"] for case in json.loads(out)["cases"]] == expected


def test_other_work_is_noticed(smelt: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([limits.Limits(1e9, 1e9, 1e9)] * 5 + [limits.Limits(4e9, 1e9, 1e9)])
    monkeypatch.setattr(limits.Probe, "sample", lambda self: next(rates))
    code, out, _ = smelt("bench", model, *SHORT, "--device", "cpu")
    assert code == 0 and "other work" in out and "25% of the best" in " ".join(out.split())


@pytest.mark.parametrize("name", ["speed.png", "speed.svg"])
def test_plot(smelt: Run, model: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    code, _, err = smelt("bench", model, *SHORT, "--plot", tmp_path / name)
    assert (code, err) == (0, "")
    drawn = (tmp_path / name).read_bytes()
    if name.endswith("png"):
        assert drawn.startswith(b"\x89PNG")
    else:
        assert all(text in drawn for text in (b"prefill", b"decode", "3 × 8".encode(), b"Bars:"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompts", "0"), "expected an integer from 1"),
        (("--batches", "1,x"), "expected an integer from 1, found 'x'"),
        (("--plot", "speed.pdf"), "ending in .png or .svg"),
        (("--prompts", "99999999"), "a prompt of 99999999 tokens and 16 more are too long"),
        (("--generate", "99999999"), "and 99999999 more are too long"),
        (("--rounds", "1", "--seconds", "3"), "not allowed with"),
    ],
)
def test_usage(smelt: Run, model: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = smelt("bench", model, *arguments)
    assert (code, out) == (2, "") and said in err


def interrupt_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when so many cases are done."""
    measure, calls = Session._measure, [0]

    def interrupted(self: Session, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] > n + 1:  # the first is the warm-up
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Session, "_measure", interrupted)


def test_what_there_is_when_it_is_stopped(
    smelt: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(5, monkeypatch)
    code, out, err = smelt("bench", model, *SHORT)
    assert (code, err) == (130, "")
    assert "\n  1 round in " in out


def test_stopped_before_there_is_anything(
    smelt: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(1, monkeypatch)
    assert smelt("bench", model, *SHORT) == (130, "", "")


def test_a_real_ctrl_c(spawn: Callable[..., subprocess.Popen[bytes]], model: Path) -> None:
    process = spawn("bench", model, "--prompts", "8", "--batches", "1", "--seconds", "100")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err == b""
    assert out == b"" or b"decode, tokens/s" in out
