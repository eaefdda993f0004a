"""`smelt pack`: a model's matrices as the CPU wants them, in a file that later starts map."""

from __future__ import annotations

import argparse

from smelt.cli.console import print_heading, print_text, progress_bar
from smelt.cli.text import integer_from, print_json, size_text

SUMMARY = "make later starts on the CPU faster, with a file beside the model"
USAGE = "%(prog)s MODEL [options]"
DESCRIPTION = """\
Every start on the CPU turns a model's quantised matrices into another layout.
This command does it once and writes MODEL.packed, about as large as the model.
From then on they are mapped from there, which takes no time, and programs that
use the same model share the memory. The model itself is still needed. Results
do not change. Delete the file whenever you like.
"""
EXAMPLES = """\
examples:
  smelt pack model.gguf
  smelt pack model-00001-of-00002.gguf --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    parser.add_argument(
        "--threads", type=integer_from(1), metavar="N", help="threads (default: one a core)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    with progress_bar("packing") as progress:
        from smelt.packed_file import pack

        packed = pack(args.model, threads=args.threads, progress=progress)
    if args.json:
        sizes = {"file_bytes": packed.nbytes, "seconds": packed.seconds}
        print_json({"path": str(packed.path)} | sizes)
        return 0
    print_heading(str(packed.path))
    print_text(f"{size_text(packed.nbytes)}, made in {packed.seconds:.1f} s")
    return 0
