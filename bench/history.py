"""How the benchmarks of this folder changed from one saved run to the next.

    python -m pytest bench --benchmark-autosave         # a run is saved with its commit
    python bench/history.py                             # the last runs beside each other
    python bench/history.py -k "decode or matvec" --runs 8 --value gigabytes_per_second

Values are medians of seconds a round, or one of the notes: tokens_per_second, ops,
gigabytes_per_second, gigaoperations_per_second, fraction_of_limit. Runs of another machine are left
out. The last column is the last run over the one before it; a claim of speed needs the two taken in
turn on an idle machine (python -m pytest bench --benchmark-compare=0007).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

NOTES = (
    *("tokens_per_second", "ops", "barriers", "fraction_of_limit"),
    *("gigabytes_per_second", "gigaoperations_per_second"),
)


def saved_runs(storage: Path) -> list[dict[str, Any]]:
    """All that pytest-benchmark has saved, the oldest first, of the machine of the last one."""
    runs = [json.loads(path.read_text("utf-8")) for path in sorted(storage.rglob("*.json"))]
    runs.sort(key=lambda run: run["datetime"])
    if not runs:
        raise SystemExit(f"no saved runs in {storage}: python -m pytest bench --benchmark-autosave")
    machine = runs[-1]["machine_info"]["cpu"].get("brand_raw")
    return [run for run in runs if run["machine_info"]["cpu"].get("brand_raw") == machine]


def name_of(benchmark: dict[str, Any]) -> str:
    """Two runs of bench_model.py may be of different models."""
    return f"{benchmark['name']} {benchmark['extra_info'].get('model', '')}".strip()


def value_of(benchmark: dict[str, Any], name: str) -> float | None:
    """A note, or the median of seconds; None where there is no such note."""
    if name == "median":
        return float(benchmark["stats"]["median"])
    found = benchmark["extra_info"].get(name)
    return None if found is None else float(found)


def history(runs: list[dict[str, Any]], words: list[str], value: str) -> Table:
    """A row a benchmark of the last run that has the value, and one of the words in its name."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"\n{value.replace('_', ' ')}", no_wrap=True)
    for run in runs:
        commit = run["commit_info"]
        label = str(commit.get("id") or "")[:7] + ("*" if commit.get("dirty") else "")
        table.add_column(f"{run['datetime'][:10]}\n{label}", justify="right", no_wrap=True)
    table.add_column("change", justify="right")
    columns = [{name_of(b): value_of(b, value) for b in run["benchmarks"]} for run in runs]
    for name in sorted(name for name, found in columns[-1].items() if found):
        if words and not any(word in name for word in words):
            continue
        found = [column.get(name) for column in columns]
        known = [each for each in found if each]
        change = f"{known[-1] / known[-2] - 1:+.1%}" if len(known) > 1 else ""
        cells = ("" if each is None else f"{each:.4g}" for each in found)
        table.add_row(escape(name), *cells, change)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"))
    parser.add_argument("--runs", type=int, default=5, help="the last N (default: 5)")
    parser.add_argument("-k", metavar="WORDS", default="", help='such as "decode or matvec"')
    parser.add_argument("--value", choices=("median", *NOTES), action="append")
    options = parser.parse_args()
    runs = saved_runs(options.storage)[-options.runs :]
    console = Console(highlight=False)
    words = [word for word in options.k.split() if word != "or"]
    for value in options.value or ["median", "tokens_per_second", "ops"]:
        table = history(runs, words, value)
        if table.row_count:
            console.print(table, "")


if __name__ == "__main__":
    main()
