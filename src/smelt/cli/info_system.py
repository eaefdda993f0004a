"""`smelt info --system`: tables of what this machine has and what smelt chose on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smelt.cli.console import print_heading, print_table, print_text
from smelt.cli.text import size_text

__all__ = ["show_system"]

UNKNOWN = "?"


def show_system(report: Mapping[str, Any]) -> None:
    """Prints a report of smelt.system.describe_system()."""
    choices = report["choices"]
    rows = [
        (what.replace("_", " "), _or(choice["value"]), choice["why"])
        for what, choice in choices.items()
    ]
    _section("what smelt uses here", rows, ("", "", "because"), first=True)
    _section("machine", _machine(report))
    _section(
        "instruction sets",
        _instruction_sets(report["instruction_sets"], choices["instruction_set"]["value"]),
        ("", "", ">tile", ">tokens", ">heads", "what it needs beyond those above"),
    )
    print_text(
        "In registers at a time: of a long prompt, tokens × rows of a matrix; of fewer tokens, so "
        "many; in attention, query heads. YMM, ZMM, TILES: registers, which the system has to save."
    )
    _section("metal", _metal(report["metal"]))
    if report["environment"]:
        _section("environment", list(report["environment"].items()))
    _section("versions", list(report["versions"].items()))


def _section(
    title: str,
    rows: Sequence[Sequence[Any]],
    headers: Sequence[str] = ("", ""),
    first: bool = False,
) -> None:
    if not first:
        print()
    print_heading(title)
    print_table(rows, headers)


def _machine(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    cpu, memory = report["cpu"], report["memory"]
    cores = f"{_or(cpu['cores'])} with {_or(cpu['hardware_threads'])} hardware threads"
    if cpu.get("performance_cores"):
        cores += f", {cpu['performance_cores']} of the cores for performance"
    if cpu["usable_threads"] != cpu["hardware_threads"]:
        cores += f", of which this process may use {cpu['usable_threads']}"
    rows = [("processor", f"{cpu['name']} ({cpu['architecture']})"), ("cores", cores)]
    for cache in cpu["caches"]:
        shared = cache["shared_by"]
        owner = f", shared by {shared} hardware threads" if shared and shared > 1 else ""
        kind = " data" if cache["kind"] == "data" else ""
        rows.append((f"L{cache['level']} cache", f"{size_text(cache['bytes'])}{kind}{owner}"))
    size = size_text(memory["bytes"]) if memory["bytes"] else UNKNOWN
    if memory["page_bytes"]:
        size += f" in pages of {size_text(memory['page_bytes'])}"
    if memory["limit_bytes"]:
        size += f", of which this process may use {size_text(memory['limit_bytes'])}"
    rows += [("memory", size), ("huge pages", _huge_pages(memory))]
    if report["unused_features"]:
        rows.append(("also has", f"{', '.join(report['unused_features'])}: not used"))
    return rows


def _huge_pages(memory: Mapping[str, Any]) -> str:
    """Whether packed matrices lie in huge pages, and why."""
    mode, size = memory["transparent_huge_pages"], memory["huge_page_bytes"]
    if not mode or not size:
        return UNKNOWN
    said = {"always": "always given", "madvise": "madvise, and NumPy asks"}.get(mode, mode)
    if mode == "madvise" and not memory["asked_for_huge_pages"]:
        said, mode = "madvise, but NUMPY_MADVISE_HUGEPAGE=0", "never"
    return f"{'not ' * (mode == 'never')}for packed weights, {size_text(size)}: {said}"


def _instruction_sets(sets: list[dict[str, Any]], used: str | None) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    above: set[str] = set()
    for one in sets:
        lacking = [need for need, here in one["needs"].items() if not here]
        state = "used" if one["name"] == used else "here" if one["available"] else "no"
        new = ", ".join(need for need in one["needs"] if need not in above)
        tiles = one["tiles"]
        rows.append(
            (
                one["name"],
                state,
                f"{tiles['tile_tokens']} × {tiles['tile_rows']}",
                tiles["dot_tokens"],
                tiles["heads"],
                f"lacking here: {', '.join(lacking)}" if lacking else new or "nothing",
            )
        )
        above |= one["needs"].keys()
    return rows


def _metal(metal: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not metal["available"]:
        return [("not here", metal["why"])]
    return [
        ("GPU", f"{metal['name']}, Apple family {metal['apple_family']}"),
        ("memory it works well with", size_text(metal["working_set_bytes"])),
        ("largest buffer", size_text(metal["max_buffer_bytes"])),
        ("residency sets", "yes" if metal["residency_sets"] else "no: macOS 15 has them"),
        ("kernels", "compiled from their source" if metal["from_source"] else "smelt.metallib"),
    ]


def _or(value: Any) -> str:
    return UNKNOWN if value is None else str(value)
