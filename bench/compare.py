"""smelt beside llama.cpp on the same files, interleaved in one run, and the machine's limits.

    pip install xllamacpp '.[plot]'
    python bench/compare.py FILE.gguf ... --json docs/speed.json --plot docs/speed.svg
    python bench/compare.py FILE.gguf ... --llama-bench llama.cpp/build/bin/llama-bench
    python bench/compare.py --read docs/speed.json --roofline docs/roofline.svg

smelt and xllamacpp are loaded once a file; then rounds of (smelt, limits, llama.cpp, limits)
alternate, so that whatever else the machine does hits all of them. The llama.cpp of xllamacpp is
compiled for AVX2; with --llama-bench one that was built for this machine stands beside it, and the
ratio is to the faster of them. Numbers are medians over the rounds. A limit is the best sample,
since other work can only lower it; but a share is the median of what an engine reached of the
typical limit just before and after it, since on a shared machine memory may be half as fast as it
was a minute ago. Where it changes within a second that is still a guess; so smelt also decodes in
turns with readings of memory, token by token, and "in turns" is the rate at which it reads weights
and cache, beside theirs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from smelt.backends.cpu import Device
from smelt.benchmark import Costs, Work
from smelt.limits import Limits, Probe, best, typical
from smelt.plan import plan
from terminal import console, rounds

KINDS = ("decode", "prefill")
PROMPT = 8  # tokens before those that are decoded: see engines.py


class Child:
    """An engine in its own process."""

    def __init__(self, name: str, path: Path, threads: int, *program: str):
        command = [sys.executable, str(Path(__file__).with_name("engines.py")), name, str(path)]
        self.process = subprocess.Popen(
            [*command, str(threads), *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.read()

    def read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with code {self.process.wait()}")
        return line

    def measure(self, command: str, n_tokens: int) -> float:
        assert self.process.stdin
        print(command, n_tokens, file=self.process.stdin, flush=True)
        return float(self.read())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Speed:
    """Of one file and one kind of work, n_tokens of them: what was reached, and what could be.

    rates: of each engine, tokens a second in every round. limit: what the machine could do at its
    best, by memory or arithmetic as `bound` says; limits: around each of the rates. bytes,
    operations: of a token. turns: of decode, smelt's shares of memory's rate in turns with it.
    """

    model: str
    kind: str
    n_tokens: int
    rates: dict[str, list[float]]
    limits: dict[str, list[float]]
    limit: float
    bound: str
    bytes: float
    operations: float
    turns: list[float] = field(default_factory=list)

    def median(self, engine: str) -> float:
        return statistics.median(self.rates[engine])

    def share(self, engine: str) -> float:
        pairs = zip(self.rates[engine], self.limits[engine], strict=True)
        return statistics.median(rate / limit for rate, limit in pairs)

    @property
    def ratio(self) -> float | None:
        """smelt over the fastest other engine."""
        others = [self.median(name) for name in self.rates if name != "smelt"]
        return self.median("smelt") / max(others) if others else None


@dataclass
class Comparison:
    """All that one run has found."""

    threads: int
    rounds: int
    limits: Limits
    speeds: list[Speed]

    @property
    def engines(self) -> list[str]:
        return list(self.speeds[0].rates)

    def of(self, kind: str) -> list[Speed]:
        return [speed for speed in self.speeds if speed.kind == kind]


def works(path: Path, n_decode: int, n_prefill: int) -> dict[str, Work]:
    """What a token of each kind costs at least."""
    described = plan(path)
    costs = Costs(described.program, described.as_dict()["kv_bytes_per_token_f16"])
    return {
        "decode": costs.decode(PROMPT + n_decode / 2, 1),
        "prefill": costs.prefill(n_prefill, 1, n_prefill).times(1 / n_prefill),
    }


@dataclass
class Samples:
    """What one file's rounds have given.

    rates: {kind: {engine: rates, each with the typical limits around it}}. turns: tokens decoded
    in the time that a byte takes to be read. limits: every sample.
    """

    rates: dict[str, dict[str, list[tuple[float, Limits]]]]
    turns: list[float]
    limits: list[Limits]


def measure(
    path: Path, engines: dict[str, list[str]], probe: Probe, options: argparse.Namespace
) -> Samples:
    """Interleaved rounds over one file. engines: by name, with what else each is started with."""
    n_tokens = {"decode": options.decode, "prefill": options.prefill}
    found = Samples({kind: {n: [] for n in engines} for kind in KINDS}, [], [])
    children = {name: Child(name, path, options.threads, *more) for name, more in engines.items()}
    before = [probe.sample() for _ in range(3)]
    try:
        for number in rounds(options.rounds + 1, path.stem):
            for name, child in children.items():
                for kind in KINDS:
                    rate = child.measure(kind, n_tokens[kind])
                    after = [probe.sample() for _ in range(3)]
                    if number:  # the first round warms up
                        found.rates[kind][name].append((rate, typical(before + after)))
                        found.limits += after
                    before = after
            if number:
                found.turns.append(children["smelt"].measure("turns", options.decode))
    finally:
        for child in children.values():
            child.close()
    return found


def compare(options: argparse.Namespace) -> Comparison:
    engines: dict[str, list[str]] = {"smelt": []}
    if not options.alone:
        engines["llama.cpp"] = []
    if options.llama_bench:
        engines["llama-bench"] = [options.llama_bench]
    probe = Probe(Device(options.threads))
    found = {path: measure(path, engines, probe, options) for path in options.models}
    limits, speeds = best(limits for samples in found.values() for limits in samples.limits), []
    for path, samples in found.items():
        for kind, work in works(path, options.decode, options.prefill).items():
            seconds, bound = work.seconds(limits)
            pairs = samples.rates[kind].items()
            speeds.append(
                Speed(
                    model=path.stem,
                    kind=kind,
                    n_tokens=getattr(options, kind),
                    rates={name: [rate for rate, _ in each] for name, each in pairs},
                    limits={
                        name: [1 / work.seconds(at)[0] for _, at in each] for name, each in pairs
                    },
                    limit=1 / seconds,
                    bound=bound,
                    bytes=work.bytes,
                    operations=work.integer + work.floating,
                    turns=[work.bytes * t for t in samples.turns] if kind == "decode" else [],
                )
            )
    return Comparison(options.threads, options.rounds, limits, speeds)


def table(found: Comparison, kind: str) -> Table:
    """What a person reads of "decode" or of "prefill"."""
    speeds, engines = found.of(kind), found.engines
    shown = Table(
        title=f"{kind} of {speeds[0].n_tokens} tokens, {found.threads} threads, tokens/s: medians "
        f"of {found.rounds} rounds, and shares of the limit around them",
        title_justify="left",
    )
    shown.add_column("model", no_wrap=True)
    for engine in engines:
        shown.add_column(engine, justify="right")
        shown.add_column("share", justify="right")
        if engine == "smelt" and kind == "decode":
            shown.add_column("in turns", justify="right")
    shown.add_column("ratio", justify="right")
    shown.add_column("limit", justify="right")
    shown.add_column("by")
    for speed in speeds:
        cells = []
        for engine in engines:
            cells += [f"{speed.median(engine):.1f}", f"{speed.share(engine):.0%}"]
            if engine == "smelt" and kind == "decode":
                cells.append(f"{statistics.median(speed.turns):.0%}" if speed.turns else "")
        ratio = "" if speed.ratio is None else f"{speed.ratio:.2f}"
        shown.add_row(speed.model, *cells, ratio, f"{speed.limit:.1f}", speed.bound)
    return shown


def written(found: Comparison) -> str:
    return json.dumps(asdict(found), indent=1) + "\n"


def read(text: str) -> Comparison:
    fields = json.loads(text)
    try:
        limits, speeds = Limits(**fields["limits"]), [Speed(**speed) for speed in fields["speeds"]]
        return Comparison(fields["threads"], fields["rounds"], limits, speeds)
    except (KeyError, TypeError) as error:
        raise SystemExit(f"not what this compare.py writes with --json: {error}") from None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decode", type=int, default=64, help="tokens (default: 64)")
    parser.add_argument("--prefill", type=int, default=512, help="tokens (default: 512)")
    parser.add_argument("--alone", action="store_true", help="smelt without xllamacpp")
    parser.add_argument(
        "--llama-bench",
        metavar="PROGRAM",
        help="llama-bench of a llama.cpp built on this machine, as one more engine",
    )
    parser.add_argument("--read", type=Path, metavar="JSON", help="an earlier run, not a new one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="bars of tokens/s: a .png or .svg file")
    parser.add_argument("--roofline", type=Path, help="operations/s by operations a byte")
    options = parser.parse_args()
    if bool(options.models) == bool(options.read):
        parser.error("expected models to be measured, or --read JSON")
    if options.llama_bench and not shutil.which(options.llama_bench):
        parser.error(f"--llama-bench {options.llama_bench}: expected a program, found none")
    found = read(options.read.read_text("utf-8")) if options.read else compare(options)
    terminal = console(160)
    for kind in KINDS:
        terminal.print(table(found, kind))
    limits = found.limits
    terminal.print(
        f"this machine reads {limits.read / 1e9:.1f} GB/s and computes {limits.dot / 1e9:.0f} G "
        f"int16 and {limits.fma / 1e9:.0f} G float32 operations/s"
    )
    if options.json:
        options.json.write_text(written(found), "utf-8")
    if options.plot or options.roofline:
        from compare_plots import plot_bars, plot_roofline

        if options.plot:
            plot_bars(found, options.plot)
        if options.roofline:
            plot_roofline(found, options.roofline)


if __name__ == "__main__":
    main()
