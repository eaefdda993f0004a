"""What the operating system tells about this machine: processor, cores, caches, memory, pages.

Linux tells in files below /proc and /sys, macOS by `sysctl`. What a system does not tell is None or
left out; nothing here raises.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["caches", "core_counts", "cpu_name", "memory"]

ROOT = Path("/")  # of /proc and /sys


def cpu_name() -> str:
    """The processor as its maker calls it."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    told = dict(re.findall(r"^([^\t:]+)\t*: (.+)$", _read("proc/cpuinfo"), re.MULTILINE))
    if name := told.get("model name"):
        return str(name)
    board = _read("proc/device-tree/model").strip("\0\n ")  # of small arm64 machines
    if "CPU part" in told:
        part = f"implementer {told.get('CPU implementer')} part {told['CPU part']}"
        return ", ".join(filter(None, (platform.machine(), part, board)))
    return board or platform.processor() or platform.machine()


def core_counts() -> dict[str, int | None]:
    """Cores of the machine, hardware threads of them, and those that this process may use."""
    logical = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    if sys.platform == "darwin":
        performance = _number(_sysctl("hw.perflevel0.physicalcpu"))
        counts = {"cores": _number(_sysctl("hw.physicalcpu")), "performance_cores": performance}
    else:
        places = (ROOT / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")
        counts = {"cores": len({_text(place) for place in places}) or None}
    return {**counts, "hardware_threads": logical, "usable_threads": usable}


def caches() -> list[dict[str, Any]]:
    """Level, kind, bytes and hardware threads that share it, of each cache of the first core."""
    if sys.platform == "darwin":
        names = {1: ("l1dcachesize", "data"), 2: ("l2cachesize", "unified")}
        sizes = {
            level: _number(_sysctl(f"hw.perflevel0.{name}") or _sysctl(f"hw.{name}"))
            for level, (name, _) in names.items()
        }
        return [
            {"level": level, "kind": names[level][1], "bytes": size, "shared_by": None}
            for level, size in sizes.items()
            if size
        ]
    found = []
    for place in sorted((ROOT / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, size = _text(place / "type").lower(), _text(place / "size")
        if kind in ("data", "unified") and (n_bytes := _number(size.removesuffix("K"))):
            shared = _count(_text(place / "shared_cpu_list"))
            found.append(
                {
                    "level": _number(_text(place / "level")),
                    "kind": kind,
                    "bytes": n_bytes * 1024,
                    "shared_by": shared,
                }
            )
    return found


def memory() -> dict[str, Any]:
    """Bytes of memory, of the share that a container may use, of pages and huge pages; whether the
    system backs memory with huge pages always, where a program asks for them (madvise), or never.
    """
    told: dict[str, Any] = {"bytes": _memory_bytes(), "limit_bytes": None}
    limits = (
        _number(_read(name).strip())
        for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
    )
    limit = min((n for n in limits if n), default=None)
    if limit and told["bytes"] and limit < told["bytes"]:
        told["limit_bytes"] = limit
    told["page_bytes"] = os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else None
    size = re.search(r"^Hugepagesize: +(\d+) kB", _read("proc/meminfo"), re.MULTILINE)
    told["huge_page_bytes"] = int(size[1]) * 1024 if size else None
    chosen = re.search(r"\[(\w+)\]", _read("sys/kernel/mm/transparent_hugepage/enabled"))
    told["transparent_huge_pages"] = chosen[1] if chosen else None
    return told


def _memory_bytes() -> int | None:
    if sys.platform == "darwin":
        return _number(_sysctl("hw.memsize"))
    total = re.search(r"^MemTotal: +(\d+) kB", _read("proc/meminfo"), re.MULTILINE)
    return int(total[1]) * 1024 if total else None


def _count(ranges: str) -> int | None:
    """How many numbers a list such as "0-3,8" has."""
    pairs = re.findall(r"(\d+)(?:-(\d+))?", ranges)
    return sum(int(last or first) - int(first) + 1 for first, last in pairs) or None


def _read(name: str) -> str:
    return _text(ROOT / name)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _sysctl(name: str) -> str:
    """A value of macOS, or ""."""
    try:
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip()
