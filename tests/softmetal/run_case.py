"""Runs the cases of cases/*.m, each in a process of its own, and reads what they print."""

from __future__ import annotations

import functools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from softmetal import flags

HERE = Path(__file__).resolve().parent


@dataclass
class Report:
    """What a case said (by name, in order), and what the device reported at its end."""

    said: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    live: dict[str, int] = field(default_factory=dict)
    returncode: int = 0
    stderr: str = ""

    def number(self, name: str) -> float:
        """The one value of this name."""
        (value,) = self.said[name]
        return float(value)

    def numbers(self, name: str) -> list[float]:
        return [float(value) for value in self.said[name]]

    def text(self, name: str) -> str:
        (value,) = self.said[name]
        return value

    def events(self, *words: str) -> list[str]:
        """Lines of the log that begin with one of these words."""
        return [line for line in self.log if line.split()[0] in words]


@functools.cache
def program() -> Path:
    """The cases' program; a skip where it cannot be built."""
    if lacks := flags.missing():
        pytest.skip(lacks)
    return flags.build("cases", sorted(HERE.glob("cases/*.m")))


@functools.cache
def compiled_kernels() -> Path:
    """A folder of kernels.metal, compiled for both modes."""
    folder = flags.cache_directory() / f"{program().name}-kernels"
    folder.mkdir(exist_ok=True)
    if not all((folder / f"{mode}.metallib").exists() for mode in ("fast", "checked")):
        source = HERE / "cases" / "kernels.metal"
        subprocess.run([str(program()), str(folder), "compile", str(source)], check=True)
    return folder


def run(name: str, **environment: str) -> Report:
    """Runs a case, where misuse is recorded unless the environment says otherwise."""
    command = [str(program()), str(compiled_kernels()), "run", name]
    settings = {**os.environ, "SOFTMETAL_FAULTS": "record", **environment}
    done = subprocess.run(
        command, env=settings, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 2, f"there is no case {name}"
    report = Report(returncode=done.returncode, stderr=done.stderr)
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word == "fault":
            report.faults.append(rest)
        elif word == "log":
            report.log.append(rest)
        elif word == "live":
            kind, count = rest.split()
            report.live[kind] = int(count)
        else:
            report.said.setdefault(word, []).append(rest)
    return report


def run_clean(name: str, **environment: str) -> Report:
    """Runs a case that does nothing wrong and leaves nothing."""
    report = run(name, **environment)
    assert (report.returncode, report.stderr) == (0, "")
    assert (report.faults, report.live) == ([], {})
    return report
