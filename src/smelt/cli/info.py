"""`smelt info`: what a GGUF file says, what its weights say, and whether smelt can run it; and with
--system what this machine has (info_system.py)."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smelt.cli.console import print_heading, print_table, print_text
from smelt.cli.info_system import show_system
from smelt.cli.text import UsageError, print_json, size_text
from smelt.errors import SmeltError

if TYPE_CHECKING:
    from smelt.config import Config
    from smelt.gguf_file import GGUFFile, Tensor

SUMMARY = "describe a GGUF file: metadata, configuration, tensors; or this machine"
USAGE = """%(prog)s MODEL [--tensors] [--json]
       %(prog)s --system [--json]"""
DESCRIPTION = """\
Describes a GGUF file: its metadata, the configuration that smelt infers from
the shapes of the weights, and its tensors by format. No weights are loaded, and
files that smelt cannot run are described as far as they can be read.

With --system it describes this machine instead: the processor with its caches
and instruction sets, which kernels smelt chose and why, memory and pages, the
GPU, versions.
"""
EXAMPLES = """\
examples:
  smelt info model.gguf
  smelt info model.gguf --tensors
  smelt info model.gguf --json | jq .config.n_layers
  smelt info --system
  SMELT_ISA=avx2 smelt info --system --json | jq .choices
"""

SHOWN_ITEMS = 8  # of a long array
SHOWN_CHARACTERS = 160  # of a long string, where it is not the terminal that cuts it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a GGUF file; of a split model the first"
    )
    parser.add_argument(
        "--system", action="store_true", help="describe this machine and what smelt chose on it"
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor too")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object; long arrays are shortened"
    )


def run(args: argparse.Namespace) -> int:
    if args.system and (args.model is not None or args.tensors):
        raise UsageError("--system is about this machine: leave out MODEL and --tensors")
    if not args.system and args.model is None:
        raise UsageError("MODEL is missing; without one there is only --system")
    report = _of_system() if args.system else _of_file(args)
    if args.json:
        print_json(report, indent=2)
    elif args.system:
        show_system(report)
    else:
        _show(report)
    return 0


def _of_system() -> dict[str, Any]:
    from smelt.system import describe_system

    return describe_system()


def _of_file(args: argparse.Namespace) -> dict[str, Any]:
    from smelt.gguf_file import GGUFFile

    with GGUFFile(args.model) as file:
        return describe(file, with_tensors=args.tensors)


def describe(file: GGUFFile, *, with_tensors: bool) -> dict[str, Any]:
    """All that `smelt info` shows, ready for JSON: sizes in bytes, shapes as NumPy gives them."""
    config, problems = _configuration(file)
    formats = _formats(list(file.tensors.values()))
    unsupported = [entry["format"] for entry in formats if not entry["supported"]]
    if unsupported:
        problems.append(f"tensor formats that smelt cannot compute with: {', '.join(unsupported)}")
    report = {
        "files": [str(path) for path in file.paths],
        "file_bytes": sum(path.stat().st_size for path in file.paths),
        "gguf_version": file.version,
        "alignment": file.alignment,
        "metadata": {key: _plain(value) for key, value in file.metadata.items()},
        "config": config,
        "problems": problems,
        "formats": formats,
        "total": _sums(list(file.tensors.values())),
    }
    if with_tensors:
        report["tensors"] = [
            {"name": t.name, "shape": list(t.shape), "format": t.format, "bytes": t.nbytes}
            for t in file.tensors.values()
        ]
    return report


def _configuration(file: GGUFFile) -> tuple[dict[str, Any] | None, list[str]]:
    """The inferred configuration, if there can be one, and what stands in the way of running."""
    from smelt.config import infer_config
    from smelt.models import architecture

    if not file.tensors:
        return None, ["the file holds a vocabulary and no weights"]
    problems = []
    try:
        architecture(str(file.metadata.get("general.architecture", "")))
    except SmeltError as error:
        problems.append(str(error))
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    try:
        return _fields(infer_config(file.metadata, shapes)), problems
    except SmeltError as error:
        return None, [*problems, str(error)]


def _fields(config: Config) -> dict[str, Any]:
    from dataclasses import asdict

    fields = asdict(config) | {"kv_dim": config.kv_dim, "q_dim": config.q_dim}
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    """A metadata value for JSON: long arrays as their length and first items, no NaN."""
    if isinstance(value, float):
        # GGUF's floats are 32 bits wide: seven digits are what was meant.
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    head = value[:SHOWN_ITEMS]
    items = [_plain(item) for item in (head.tolist() if hasattr(head, "tolist") else head)]
    return items if len(value) <= SHOWN_ITEMS else {"length": len(value), "first": items}


def _formats(tensors: list[Tensor]) -> list[dict[str, Any]]:
    """One entry a format, that with the most bytes first."""
    names = {tensor.format: tensor.supported for tensor in tensors}
    entries = [
        {"format": name, "supported": supported}
        | _sums([tensor for tensor in tensors if tensor.format == name])
        for name, supported in names.items()
    ]
    return sorted(entries, key=lambda entry: (-entry["bytes"], entry["format"]))


def _sums(tensors: list[Tensor]) -> dict[str, Any]:
    """Counts and sizes; bits_per_weight leaves out tensors whose size is not known."""
    sized = sum(math.prod(tensor.shape) for tensor in tensors if tensor.nbytes)
    nbytes = sum(tensor.nbytes for tensor in tensors)
    return {
        "tensors": len(tensors),
        "weights": sum(math.prod(tensor.shape) for tensor in tensors),
        "bytes": nbytes,
        "bits_per_weight": round(8 * nbytes / sized, 4) if sized else None,
    }


def _show(report: dict[str, Any]) -> None:
    for name in report["files"]:
        print_heading(name)
    file = {
        "size": size_text(report["file_bytes"]),
        "version": report["gguf_version"],
        "alignment": report["alignment"],
    }
    print_table(file.items(), ("", ""))
    _show_values("metadata", report["metadata"])
    if report["config"]:
        _show_values("configuration, inferred from the weights", report["config"])
    if report["formats"]:
        print()
        print_heading("tensors")
        show_formats(report)
    if "tensors" in report:
        print()
        print_heading("every tensor")
        rows = [
            (t["format"], size_text(t["bytes"]), " × ".join(map(str, t["shape"])), t["name"])
            for t in report["tensors"]
        ]
        print_table(rows, ("format", ">size", ">shape", "name"))
    if report["problems"]:
        print()
        print_heading("smelt cannot run this file")
        for problem in report["problems"]:
            print_text(problem)


def _show_values(title: str, values: Mapping[str, Any]) -> None:
    print()
    print_heading(title)
    print_table([(key, _cell(value)) for key, value in values.items()], ("", ""))


def show_formats(report: dict[str, Any]) -> None:
    """The table of a report of describe() that has a line for each format."""
    entries = [*report["formats"], {"format": "total", **report["total"]}]
    rows = [
        (
            entry["format"],
            entry["tensors"],
            f"{entry['weights']:,}",
            size_text(entry["bytes"]),
            f"{entry['bits_per_weight']:.2f}" if entry["bits_per_weight"] else "?",
        )
        for entry in entries
    ]
    print_table(rows, ("format", ">tensors", ">weights", ">size", ">bits/weight"))


def _cell(value: Any) -> str:
    """A value of _plain, short enough for a row."""
    if isinstance(value, str):
        return value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if "length" in value:
        first = json.dumps(value["first"], ensure_ascii=False).removesuffix("]")
        return f"{value['length']} × {first}, …]"
    if value.get("type") == "none":
        return "none"
    return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
