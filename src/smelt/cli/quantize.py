"""`smelt quantize`: a smaller model from one in floats."""

from __future__ import annotations

import argparse

from smelt.cli.console import print_heading, print_text, progress_bar
from smelt.cli.info import describe, show_formats
from smelt.cli.text import integer_from, print_json, size_text
from smelt.mixtures import MIXTURES

SUMMARY = "make a smaller model from one in F32, F16 or BF16"
USAGE = "%(prog)s MODEL OUT [MIXTURE] [options]"
DESCRIPTION = """\
Quantises a model: reads a GGUF file in F32, F16 or BF16 and writes another one
with the same metadata, in a mixture of tensor formats. The mixtures are those
of llama.cpp, which reads the files too. OUT appears when it is complete.
"""
EXAMPLES = (
    """\
mixtures, from the smallest:
"""
    + "".join(f"  {mixture.name:<7} {mixture.summary}\n" for mixture in MIXTURES.values())
    + """
examples:
  smelt quantize model-F16.gguf model-Q4_K_M.gguf
  smelt quantize model-F16.gguf model-Q6_K.gguf Q6_K --threads 4
  smelt quantize model-F32.gguf model.gguf bf16 --force --json
"""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a GGUF file; of a split model the first, all are read"
    )
    parser.add_argument("out", metavar="OUT", help="the file to write")
    parser.add_argument(
        "mixture",
        metavar="MIXTURE",
        nargs="?",
        type=str.upper,
        choices=tuple(MIXTURES),
        default="Q4_K_M",
        help="one of those below (default: Q4_K_M)",
    )
    parser.add_argument(
        "--threads", type=integer_from(1), metavar="N", help="threads (default: one a core)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    with progress_bar(f"quantising to {args.mixture}") as progress:
        from smelt.quantisation import quantize

        result = quantize(
            args.model,
            args.out,
            args.mixture,
            threads=args.threads,
            progress=progress,
            overwrite=args.force,
        )
    from smelt.gguf_file import GGUFFile

    with GGUFFile(result.path) as file:
        report = describe(file, with_tensors=False)
    if args.json:
        kept = {key: report[key] for key in ("files", "file_bytes", "formats", "total")}
        times = {"bytes_before": result.bytes_before, "seconds": result.seconds}
        print_json(kept | times | {"fallbacks": result.fallbacks})
        return 0
    print_heading(str(result.path))
    show_formats(report)
    print_text(
        f"{size_text(result.bytes_before)} of tensors became {size_text(result.bytes_after)} "
        f"in {result.seconds:.1f} s"
    )
    if result.fallbacks:
        print_text(
            f"the rows of {len(result.fallbacks)} tensors, such as {result.fallbacks[0]}, fit no "
            f"whole number of blocks: they are in the nearest format that fits"
        )
    return 0
