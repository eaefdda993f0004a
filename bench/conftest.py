"""What the benchmarks of ops share: limits measured beside them, and a table of what was reached.

Options: --isa avx512 (several are possible; all but scalar without it), --threads 1 2, --model FILE
for bench_model.py.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import ISAS, cpu_device

from smelt.benchmark import Work
from smelt.limits import Limits, Probe, best, memory_to_read

SAMPLES = 3  # of the limits, before and after each benchmark
SECONDS = 0.3  # of a benchmark, within these bounds of its rounds
LEAST_ROUNDS, MOST_ROUNDS = 5, 1000
_samples: dict[tuple[str, int], list[Limits]] = defaultdict(list)
_works: dict[str, Work] = {}  # of each benchmark, by its full name


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("smelt")
    default = [isa for isa in ISAS if isa != "scalar"] or ISAS
    group.addoption("--isa", nargs="+", choices=ISAS, default=default)
    group.addoption("--threads", nargs="+", type=int, default=[1, 2])
    group.addoption("--model", type=Path, help="instead of random TinyLlama blocks")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name in ("isa", "threads"):
        if name in metafunc.fixturenames:
            values = metafunc.config.getoption(f"--{name}")
            metafunc.parametrize(name, values, scope="session" if name == "isa" else None)


@pytest.fixture(scope="session")
def memory() -> np.ndarray:
    return memory_to_read(8)


@pytest.fixture
def measured(
    benchmark: Any, isa: str, threads: int, memory: np.ndarray
) -> Iterator[Callable[..., None]]:
    """Gives a function that runs another one, or takes a benchmark that has run, and notes the
    rates of the work it does; the limits are sampled before and after."""
    probe, samples = Probe(cpu_device(isa, threads), memory), _samples[isa, threads]
    samples += [probe.sample() for _ in range(SAMPLES)]

    def measure(
        run: Callable[[], object] | None, work: Work, in_caches: bool = False, **notes: Any
    ) -> None:
        """in_caches: its bytes do not come from memory, and there is no limit to compare with."""
        if run:
            begin = time.perf_counter()
            run()  # and warms up
            rounds = int(SECONDS / (time.perf_counter() - begin))
            benchmark.pedantic(run, rounds=min(max(rounds, LEAST_ROUNDS), MOST_ROUNDS))
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(
            isa=isa,
            threads=threads,
            gigabytes_per_second=work.bytes / seconds / 1e9,
            gigaoperations_per_second=(work.integer + work.floating) / seconds / 1e9,
            **notes,
        )
        if not in_caches:
            _works[benchmark.fullname] = work

    yield measure
    samples += [probe.sample() for _ in range(SAMPLES)]


def settle(benchmark: Any) -> dict[str, Any]:
    """A benchmark's notes, with the share of the limits as they are known at the end."""
    info: dict[str, Any] = benchmark.extra_info
    work = _works.get(benchmark.fullname)
    if work:
        least, bound = work.seconds(best(_samples[info["isa"], info["threads"]]))
        info.update(bound=bound, fraction_of_limit=least / benchmark.stats.median)
    return info


def pytest_benchmark_update_json(benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    for benchmark, entry in zip(benchmarks, output_json["benchmarks"], strict=True):
        entry["extra_info"] = settle(benchmark)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    found = [b for b in getattr(session, "benchmarks", []) if "isa" in b.extra_info]
    if not found:
        return
    write = terminalreporter.write_line
    terminalreporter.section("rates, and the machine's limits")
    for isa, threads in sorted(_samples):
        at = best(_samples[isa, threads])
        write(
            f"{isa}, {threads} threads: reads {at.read / 1e9:.1f} GB/s, computes "
            f"{at.dot / 1e9:.0f} G int16 and {at.fma / 1e9:.0f} G float32 operations/s"
        )
    width = max(len(b.name) for b in found)
    write(f"\n{'':{width}}  {'GB/s':>8} {'Gop/s':>8} {'tokens/s':>9}  of the limit")
    for b in found:
        info = settle(b)
        rates = [info[f"giga{unit}_per_second"] for unit in ("bytes", "operations")]
        cells = [f"{rate:8.1f}" if rate else f"{'':8}" for rate in rates]
        tokens = info.get("tokens_per_second")
        cells.append(f"{tokens:9.1f}" if tokens else f"{'':9}")
        share = f"{info['fraction_of_limit']:6.0%} by {info['bound']}" if "bound" in info else ""
        write(f"{b.name:{width}}  {' '.join(cells)}  {share}".rstrip())
