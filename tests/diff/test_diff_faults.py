"""Planted faults: the first op that smelt.diff names is the one with the fault, every time.

Faults are planted in copies of the kernels (C, compiled here; Metal, compiled by the software
device), in the recorded program, and in the weights of a copy of the file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metal_device import need_metal_device
from planted_cpu import FAULTS, PlantedCore, build
from small_engine import prompt_ids
from smelt import Engine
from smelt.backends import metal
from smelt.diff import Diff, compare
from smelt.diff.replay import explain
from smelt.gguf_file import GGUFFile
from smelt.graph.ops import Recorder, Value
from smelt.trace import Run
from tiny_model import write_tiny_llama

IDS = prompt_ids(45)  # more than a page
BASELINES = ["cpu", "reference"]

# the value that is wrong first, and the op that makes it: unfused, and fused
EXPECTED = {
    "rope": (("blk.0.q_rope", "rope"), ("blk.0.q_rope", "rope_kv_write")),
    "q4_k": (("blk.0.q", "matmul"), ("blk.0.q", "norm_matmul")),
    "heads": (("blk.0.kq", "attention_scores"), ("blk.0.kqv", "attention")),
    "residual": (("blk.0.ffn_inp", "add"), ("blk.0.ffn_inp", "matmul_add")),
    "scale": (("blk.0.kq_softmax", "softmax"), ("blk.0.kqv", "attention")),
    "gate_up": (None, ("blk.0.ffn_swiglu", "norm_gate_up")),
    "mask": (("blk.0.kq", "attention_scores"), ("blk.0.kqv", "attention")),
    "pages": (("blk.0.k_cache", "kv_write"), ("blk.0.k_cache", "rope_kv_write")),
    "nan": (("blk.0.ffn_silu", "silu"), None),
}
KERNEL_CASES = [
    (fault, fused, expected)
    for fault, both in EXPECTED.items()
    for fused, expected in zip((False, True), both, strict=True)
    if expected
]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> PlantedCore:
    return PlantedCore(build(tmp_path_factory.mktemp("planted")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Q4_K but for the table of embed, so that a matmul is the first to decode it."""
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    return write_tiny_llama(path, formats={"token_embd": "f32"})


@pytest.fixture(scope="module")
def right(model: Path) -> Callable[[str, bool], Run]:
    """Runs without a fault, by device and whether fused."""
    runs: dict[tuple[str, bool], Run] = {}
    for device in BASELINES:
        with Engine(model, device=device, threads=2) as engine:
            runs |= {(device, fused): engine.trace(IDS, fused=fused) for fused in (False, True)}
    return lambda device, fused: runs[device, fused]


def first_of(diff: Diff) -> tuple[str, str]:
    assert diff.first is not None, "no op is out of tolerance"
    return diff.first.value.name, diff.first.value.op


# --- in the kernels


@pytest.mark.parametrize("against", BASELINES)
@pytest.mark.parametrize(("fault", "fused", "expected"), KERNEL_CASES)
def test_a_fault_in_a_cpu_kernel(
    core: PlantedCore,
    model: Path,
    right: Callable[[str, bool], Run],
    fault: str,
    fused: bool,
    expected: tuple[str, str],
    against: str,
) -> None:
    with core.fault(fault), Engine(model, device="cpu", threads=1) as engine:
        run = engine.trace(IDS, fused=fused)
    diff = compare(run, right(against, fused))
    assert first_of(diff) == expected
    verdict = explain(diff, diff.first) if diff.first else None
    assert verdict is not None and verdict.side == "a"
    assert verdict.lines[-1] == f"so the fault is in A's {expected[1]}"
    # from the other side it is the same op, and the same side is at fault
    turned = compare(right(against, fused), run)
    assert first_of(turned) == expected
    assert turned.first is not None and explain(turned, turned.first).side == "b"


@pytest.mark.parametrize("fused", [False, True])
def test_the_changed_copy_without_a_fault(
    core: PlantedCore, model: Path, right: Callable[[str, bool], Run], fused: bool
) -> None:
    """What the tests above see is the fault, and not the copy."""
    with core.fault("none"), Engine(model, device="cpu", threads=1) as engine:
        run = engine.trace(IDS, fused=fused)
    diff = compare(run, right("cpu", fused))
    assert diff.first is None
    assert max(d.distance.largest for d in diff.differences) == 0  # the scalar kernels' bits


def test_a_nan_is_located(
    core: PlantedCore, model: Path, right: Callable[[str, bool], Run]
) -> None:
    with core.fault("nan"), Engine(model, device="cpu", threads=1) as engine:
        diff = compare(engine.trace(IDS), right("cpu", False))
    (found,) = diff.bad
    difference, bad = found
    assert difference.value.name == "blk.0.ffn_silu"
    assert (bad.side, bad.token, bad.element) == ("a", 0, (0,)) and np.isnan(bad.value)


def test_every_fault_has_a_case() -> None:
    assert {fault for fault, _, _ in KERNEL_CASES} == {*FAULTS} - {"none"}


METAL_FAULTS = {
    "rope": (r"args\.neox \?", "!args.neox ?", ("blk.0.q_rope", "rope")),
}


@pytest.mark.parametrize("fault", METAL_FAULTS)
def test_a_fault_in_a_metal_kernel(
    fault: str, model: Path, right: Callable[[str, bool], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_metal_device()
    pattern, replacement, expected = METAL_FAULTS[fault]
    text = (Path(metal.__file__).parents[1] / "smelt.metal").read_text("utf-8")
    changed, found = re.subn(pattern, replacement, text)
    assert found >= 2, "the kernels have changed: adapt the fault"
    monkeypatch.setattr(metal, "_kernels", lambda: (None, changed))
    with Engine(model, device="metal") as engine:
        run = engine.trace(IDS)
    diff = compare(run, right("cpu", False))
    assert first_of(diff) == expected
    assert diff.first is not None and explain(diff, diff.first).side == "a"


# --- in the program


@contextmanager
def changed_recorder(method: str, change: Callable[..., Any]) -> Iterator[None]:
    """change(original method, recorder, *arguments) in the place of a Recorder's method."""
    original = getattr(Recorder, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, method, lambda r, *a, **k: change(original, r, *a, **k))
        yield


def other_pairs(original: Any, r: Recorder, name: str, x: Value, table: Value, neox: bool) -> Value:
    return original(r, name, x, table, neox != (name == "blk.1.k_rope"))


def no_residual(original: Any, r: Recorder, name: str, a: Value, b: Value) -> Value:
    return a if name == "blk.1.ffn_inp" else original(r, name, a, b)


def no_last_residual(original: Any, r: Recorder, name: str, a: Value, b: Value) -> Value:
    return a if name == "blk.1.out" else original(r, name, a, b)


def other_scale(
    original: Any, r: Recorder, prefix: str, q: Value, k: Value, v: Value, scale: float, n: int
) -> Value:
    return original(r, prefix, q, k, v, scale * (1.25 if prefix == "blk.1." else 1), n)


def swapped(original: Any, r: Recorder, name: str, x: Value) -> Value:
    """SiLU of up, and not of gate."""
    if name == "blk.1.ffn_silu":
        (x,) = (v for op in r.ops for v in op.outputs if v.name == "blk.1.ffn_up")
    return original(r, name, x)


PROGRAM_FAULTS = {
    "rope": ("rope", other_pairs, "blk.1.k_rope", "neox is 1 in A and 0 in B"),
    "residual": ("add", no_residual, "blk.1.ffn_inp", "only B has it"),
    "last residual": ("add", no_last_residual, "blk.1.out", "only B has it"),
    "scale": ("attention", other_scale, "blk.1.kq_softmax", "scale is 0.15625 in A"),
    "gate_up": (
        "silu",
        swapped,
        "blk.1.ffn_silu",
        "it reads blk.1.ffn_up in A and blk.1.ffn_gate in B",
    ),
}


@pytest.mark.parametrize("against", BASELINES)
@pytest.mark.parametrize("fault", PROGRAM_FAULTS)
def test_a_fault_in_the_program(
    fault: str, model: Path, right: Callable[[str, bool], Run], against: str
) -> None:
    method, change, expected, note = PROGRAM_FAULTS[fault]
    with changed_recorder(method, change), Engine(model, device="cpu", threads=2) as engine:
        run = engine.trace(IDS)
    diff = compare(run, right(against, False))
    assert first_of(diff)[0] == expected
    assert diff.first is not None and any(line.startswith(note) for line in diff.first.notes)
    assert explain(diff, diff.first).side == ""  # every op does what the program says


# --- in the weights


def changed_file(model: Path, to: Path, *names: str) -> tuple[Path, list[np.ndarray]]:
    """A copy of a file, and the bytes of some of its tensors, which may be written to."""
    shutil.copy(model, to)
    bytes_of = np.memmap(to, np.uint8, "r+")
    tensors = GGUFFile(model).tensors
    found = []
    for name in names:
        data = tensors[name].data
        at = bytes(bytes_of).find(data.tobytes())
        assert at > 0
        found.append(bytes_of[at : at + data.nbytes])
    return to, found


@pytest.mark.parametrize("fused", [False, True])
def test_gate_and_up_swapped_in_the_file(
    model: Path, right: Callable[[str, bool], Run], tmp_path: Path, fused: bool
) -> None:
    names = ("blk.1.ffn_gate.weight", "blk.1.ffn_up.weight")
    path, (gate, up) = changed_file(model, tmp_path / "swapped.gguf", *names)
    gate[:], up[:] = up.copy(), gate.copy()
    with Engine(path, device="cpu", threads=2) as engine:
        diff = compare(engine.trace(IDS, fused=fused), right("cpu", fused))
    op = ("blk.1.ffn_swiglu", "norm_gate_up") if fused else ("blk.1.ffn_gate", "matmul")
    assert first_of(diff) == op
    assert len(diff.wrong) == (1 if fused else 2)
    assert diff.first is not None
    last = explain(diff, diff.first).lines[-1]
    assert re.match(r"so the files differ: .*% of the bytes of blk\.1\.ffn_gate\.weight", last)


def test_scales_of_one_weight(
    model: Path, right: Callable[[str, bool], Run], tmp_path: Path
) -> None:
    """The first scale byte of every block of one Q4_K matrix."""
    path, (data,) = changed_file(model, tmp_path / "scales.gguf", "blk.1.attn_v.weight")
    data.reshape(-1, 144)[:, 4] ^= 0x15
    with Engine(path, device="cpu", threads=2) as engine:
        diff = compare(engine.trace(IDS), right("reference", False))
    assert first_of(diff) == ("blk.1.v", "matmul") and len(diff.wrong) == 1
