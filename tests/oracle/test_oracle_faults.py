"""Faults planted in a copy of the CPU's kernels, found beside llama.cpp's tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from measure import Oracle

from planted_cpu import PlantedCore, build
from smelt.diff import compare
from smelt.diff.llama_cpp import DumpFile, DumpRun

EXPECTED = {
    "rope": ("blk.0.q_rope", "Qcur-0#3"),
    "heads": ("blk.0.kq", "kq-0"),
    "residual": ("blk.0.ffn_inp", "ffn_inp-0"),
    "scale": ("blk.0.kq_softmax", "kq_soft_max-0"),
    "mask": ("blk.0.kq", "kq-0"),
}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> PlantedCore:
    return PlantedCore(build(tmp_path_factory.mktemp("planted")))


@pytest.mark.parametrize(
    ("name", "fault", "expected"),
    [
        *(("prose-code-7m-F16", *case) for case in EXPECTED.items()),
        *(("prose-code-7m-Q4_K_M", *case) for case in EXPECTED.items()),
        ("prose-code-7m-Q4_K_M", "q4_k", ("embed", "embd")),
    ],
)
def test_a_fault_is_named_beside_llama_cpp(
    oracle_of: Callable[[str], Oracle],
    core: PlantedCore,
    name: str,
    fault: str,
    expected: tuple[str, str],
) -> None:
    oracle = oracle_of(name)
    with core.fault(fault), oracle.engine("cpu", threads=1) as engine:
        run = engine.trace(oracle.prompts["movie"].tokens)
        diff = compare(run, DumpRun(DumpFile(oracle.dump), "movie", engine.model, run.n_tokens))
    assert diff.first is not None
    assert (diff.first.value.name, diff.first.tensor) == expected
