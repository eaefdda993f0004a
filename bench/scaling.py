"""smelt beside itself: eight sequences beside one, long contexts beside short ones, and its start.

    python bench/scaling.py FILE.gguf ...

Steps of the three kinds alternate, so that whatever else the machine does hits all of them, and
numbers are medians. A start is a process of its own, from before `import smelt` to the first token
after a prompt of eight, and warm: one that is not counted goes before, so that the file is in the
system's cache and Python has its bytecode. Starts without and with what `smelt pack` makes take
turns. What a process then holds in memory stands beside the size of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from engines import random_prompt
from smelt import Engine, pack
from terminal import console, rounds

if TYPE_CHECKING:
    from smelt.batch import Work
    from smelt.kv_cache import Sequence

SEQUENCES = 8
SHORT, LONG = 128, 4096  # tokens of context
START = """
import json, sys, time
begun = time.perf_counter()
from smelt import Engine
engine = Engine(sys.argv[1], device="cpu", threads=int(sys.argv[2]))
next(engine.stream(list(range(300, 308)), 1))
seconds = time.perf_counter() - begun
try:
    status = open("/proc/self/status").read().split()
    resident = int(status[status.index("VmRSS:") + 1]) << 10
except OSError:
    resident = 0
print(json.dumps([seconds, resident]))
"""


@dataclass
class Scaling:
    """Of one file. one, batch, long: seconds of a step of one sequence, of SEQUENCES, and of one
    with LONG tokens before it instead of SHORT. starts: seconds to the first token, and those where
    the file is packed. resident: the most bytes that a process held then, 0 where the system does
    not say. size: of the file."""

    model: str
    one: float
    batch: float
    long: float
    starts: list[float]
    packed_starts: list[float]
    resident: float
    size: float


def start(path: Path, threads: int) -> tuple[float, float]:
    """Seconds to a first token, and bytes resident then."""
    command = [sys.executable, "-c", START, str(path), str(threads)]
    # a variable that some containers set, with which every start compiles Python's sources anew
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds, resident = json.loads(subprocess.check_output(command, env=env))
    return seconds, resident


def steps(path: Path, threads: int, n_rounds: int) -> tuple[float, float, float]:
    """Median seconds of a step of one sequence, of SEQUENCES, and of one with LONG tokens."""
    with Engine(path, device="cpu", threads=threads, n_ctx=LONG + n_rounds) as engine:

        def step(work: Work) -> float:
            at = time.perf_counter()
            engine.step(work, engine.cancellations, enough=1)
            return time.perf_counter() - at

        def begun(n_tokens: int) -> Sequence:
            sequence = engine.cache.begin([0], reuse=False)
            for at in range(0, n_tokens, engine.chunk_tokens):
                n = min(engine.chunk_tokens, n_tokens - at)
                step([(sequence, random_prompt(n), [])])
            return sequence

        short = [begun(SHORT) for _ in range(SEQUENCES)]
        kinds = [short[:1], short, [begun(LONG)]]
        seconds: list[list[float]] = [[] for _ in kinds]
        for _ in rounds(n_rounds, path.stem):
            for sequences, taken in zip(kinds, seconds, strict=True):
                taken.append(step([(sequence, [0], [0]) for sequence in sequences]))
    one, batch, long = map(statistics.median, seconds)
    return one, batch, long


def measure(path: Path, options: argparse.Namespace) -> Scaling:
    one, batch, long = steps(path, options.threads, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / path.name  # another name of it, so that nothing is left beside it
        packed.symlink_to(path.resolve())
        pack(packed, threads=options.threads)
        runs = [
            (start(path, options.threads), start(packed, options.threads))
            for _ in range(1 + options.starts)
        ][1:]
    starts, packed_starts = ([run[kind][0] for run in runs] for kind in (0, 1))
    resident = max(held for run in runs for _, held in run)
    size = path.stat().st_size
    return Scaling(path.stem, one, batch, long, starts, packed_starts, resident, size)


def table(found: list[Scaling], threads: int) -> Table:
    """What a person reads."""
    shown = Table(
        title=f"{threads} threads: tokens/s of one sequence and of {SEQUENCES}, a step after "
        f"{LONG:,} tokens beside one after {SHORT}, and each start",
        title_justify="left",
    )
    shown.add_column("model", no_wrap=True)
    for name in (
        "tokens/s",
        f"of {SEQUENCES}",
        "ratio",
        f"{LONG:,} / {SHORT}",
        "first token, s",
        "packed before",
        "MiB resident",
        "of a file",
    ):
        shown.add_column(name, justify="right")
    for each in found:
        shown.add_row(
            each.model,
            f"{1 / each.one:.1f}",
            f"{SEQUENCES / each.batch:.1f}",
            f"{SEQUENCES * each.one / each.batch:.2f}",
            f"{each.long / each.one:.2f}",
            *(
                " ".join(f"{seconds:.2f}" for seconds in starts)
                for starts in (each.starts, each.packed_starts)
            ),
            f"{each.resident / 2**20:.0f}",
            f"{each.size / 2**20:.0f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60, help="steps of each kind (default: 60)")
    parser.add_argument("--starts", type=int, default=3, help="processes (default: 3)")
    options = parser.parse_args()
    if min(options.threads, options.rounds, options.starts) < 1:
        parser.error("expected at least one thread, round and start")
    found = [measure(path, options) for path in options.models]
    console(120).print(table(found, options.threads))


if __name__ == "__main__":
    main()
