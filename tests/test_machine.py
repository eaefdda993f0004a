"""machine.py: what is read from a system's own files, of machines that are not this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smelt import machine

KIB = 1024


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty / of a Linux machine."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def write_cache(root: Path, index: int, level: int, kind: str, size: str, shared: str) -> None:
    folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
    for name, text in (("level", str(level)), ("type", kind), ("size", size)):
        write(root, f"{folder}/{name}", f"{text}\n")
    write(root, f"{folder}/shared_cpu_list", f"{shared}\n")


def test_a_system_that_tells_nothing(root: Path) -> None:
    assert machine.cpu_name()
    assert machine.core_counts()["cores"] is None
    assert machine.caches() == []
    told = machine.memory()
    assert told.pop("page_bytes") > 0
    assert set(told.values()) == {None}


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: A Fine CPU @ 3 GHz\nflags\t: x: y\n", "A Fine CPU @ 3 GHz"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "implementer 0x41 part 0xd0c, A Board"),
        ("", "A Board"),
    ],
)
def test_cpu_name(root: Path, cpuinfo: str, expected: str) -> None:
    write(root, "proc/cpuinfo", cpuinfo)
    write(root, "proc/device-tree/model", "A Board\0")
    assert machine.cpu_name().endswith(expected)


def test_cores_are_counted_once(root: Path) -> None:
    """Four cores of which two have two hardware threads each."""
    for cpu, siblings in enumerate(["0-1", "0-1", "2-3", "2-3", "4", "5"]):
        write(root, f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list", siblings)
    assert machine.core_counts()["cores"] == 4


def test_caches_but_not_of_instructions(root: Path) -> None:
    write_cache(root, 0, 1, "Data", "48K", "0")
    write_cache(root, 1, 1, "Instruction", "32K", "0")
    write_cache(root, 2, 2, "Unified", "2048K", "0-1")
    write_cache(root, 3, 3, "Unified", "32768K", "0-3,8,10-11")
    assert machine.caches() == [
        {"level": 1, "kind": "data", "bytes": 48 * KIB, "shared_by": 1},
        {"level": 2, "kind": "unified", "bytes": 2048 * KIB, "shared_by": 2},
        {"level": 3, "kind": "unified", "bytes": 32768 * KIB, "shared_by": 7},
    ]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", None), ("1048576", 1048576), ("9223372036854771712", None)],
)
def test_memory(root: Path, limit: str, expected: int | None) -> None:
    write(root, "proc/meminfo", "MemTotal:       16000 kB\nHugepagesize:       2048 kB\n")
    write(root, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    write(root, "sys/fs/cgroup/memory.max", f"{limit}\n")
    told = machine.memory()
    assert (told["bytes"], told["limit_bytes"]) == (16000 * KIB, expected)
    assert (told["huge_page_bytes"], told["transparent_huge_pages"]) == (2048 * KIB, "madvise")


@pytest.fixture
def mac(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `sysctl -n NAME` says."""
    answers: dict[str, str] = {}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, answers.get(command[-1], "") + "\n", "")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine.subprocess, "run", run)
    return answers


def test_a_mac(mac: dict[str, str]) -> None:
    mac |= {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.physicalcpu": "8",
        "hw.perflevel0.physicalcpu": "4",
        "hw.perflevel0.l1dcachesize": "131072",
        "hw.l2cachesize": "4194304",
        "hw.memsize": "17179869184",
    }
    assert machine.cpu_name() == "Apple M2"
    counts = machine.core_counts()
    assert (counts["cores"], counts["performance_cores"]) == (8, 4)
    assert [cache["bytes"] for cache in machine.caches()] == [128 * KIB, 4096 * KIB]
    assert machine.memory()["bytes"] == 16 * KIB**3


def test_a_mac_that_tells_nothing(mac: dict[str, str]) -> None:
    assert machine.cpu_name()
    assert machine.core_counts()["cores"] is None
    assert machine.caches() == []
    assert machine.memory()["bytes"] is None
