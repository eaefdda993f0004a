"""`smelt plan`: the program that a device replays for a model, op by op."""

from __future__ import annotations

import argparse

from smelt.cli.text import integer_from, print_json, printable

SUMMARY = "show the program that runs a model, op by op"
USAGE = "%(prog)s MODEL [options]"
DESCRIPTION = """\
Shows the program that smelt replays for every step of a model: its ops in
order, what they read and write, the formats of their weights, and the memory of
a step. "|" marks an op that waits for those before it. No weights are loaded.
"""
EXAMPLES = """\
examples:
  smelt plan model.gguf
  smelt plan model.gguf --unfused
  smelt plan model.gguf --json | jq .dispatches_per_layer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    parser.add_argument(
        "--device", default="auto", help="the device it is for (default: auto, the fastest)"
    )
    parser.add_argument(
        "--n-ctx", type=integer_from(1), metavar="N", help="context (default: the model's)"
    )
    parser.add_argument(
        "--unfused", action="store_true", help="show the plain ops that fused ones consist of"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from smelt.plan import plan

    made = plan(args.model, device=args.device, n_ctx=args.n_ctx, fused=not args.unfused)
    if args.json:
        print_json(made.as_dict(), indent=2)
    else:
        print(*map(printable, made.text().splitlines()), sep="\n")
    return 0
