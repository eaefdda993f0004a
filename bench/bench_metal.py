"""What a decode step costs the host on the Metal device, and what it moves: tracked over commits.

    SMELT_SOFTMETAL=1 pip install '.[dev]'
    python -m pytest bench/bench_metal.py --benchmark-save=metal
    python -m pytest-benchmark compare --group-by=name --columns=median,iqr

The model has TinyLlama's shape. On Linux the software device runs with its kernels switched off, so
that the time is that of the host's own work: writing the step, encoding the next one, committing.
`extra_info` of the saved files holds dispatches and barriers a token, nanoseconds a dispatch, and
bytes moved a token beside the bytes of the weights.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from make_model import SHAPES, write
from smelt import Engine
from smelt.plan import plan

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from softmetal_control import Software

STEPS = 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(tmp_path_factory.mktemp("bench")) / "tinyllama-Q4_K_M.gguf"
    write(str(path), SHAPES["tinyllama"], "Q4_K_M")
    return path


@pytest.fixture
def engine(model: Path) -> Iterator[Engine]:
    software = Software()
    software.set_kernels(0)
    with Engine(model, device="metal", n_ctx=512) as engine:
        yield engine
    software.set_kernels(1)


def test_decode_step(benchmark, engine: Engine, model: Path) -> None:
    with engine.lock:
        sequence = engine.cache.begin([1], reuse=False)
    encoding: list[float] = []

    def step() -> None:
        engine.step([(sequence, [1], [0])], engine.cancellations, enough=1)
        encoding.append(engine._program.statistics()["encode_seconds"])

    benchmark.pedantic(step, rounds=STEPS, warmup_rounds=20)
    statistic, planned = engine._program.statistics(), plan(model, device="metal").as_dict()
    weights, activations = planned["weight_bytes"], planned["activation_bytes_per_token"]
    assert planned["dispatches"] <= statistic["dispatches"] <= 136
    benchmark.extra_info.update(
        dispatches=statistic["dispatches"],
        barriers=statistic["barriers"],
        encode_ns_per_dispatch=1e9 * statistics.median(encoding) / statistic["dispatches"],
        step_ns_per_dispatch=1e9 * benchmark.stats.stats.median / statistic["dispatches"],
        weight_bytes=weights,
        moved_over_weight_bytes=(weights + activations) / weights,
    )
    for name, value in benchmark.extra_info.items():
        print(f"  {name:<24} {value:,.4g}")
