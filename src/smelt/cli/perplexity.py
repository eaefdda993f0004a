"""`smelt perplexity`: how well a model predicts a text."""

from __future__ import annotations

import argparse

from smelt.cli.console import progress_bar
from smelt.cli.engine import add_engine_arguments, open_engine
from smelt.cli.text import integer_from, print_json, read_file

SUMMARY = "measure how well a model predicts a text"
USAGE = "%(prog)s MODEL FILE [options]"
DESCRIPTION = """\
Measures the perplexity of a text as llama.cpp does: the text is cut into chunks
of --n-ctx tokens, a short rest is dropped, and in the second half of each chunk
every token is predicted from those before it. Lower is better; compare models
on the same text, with the same vocabulary and --n-ctx. What follows ± is the
standard error: how far another text of the same kind would lead elsewhere. Two
models on one text are compared far more closely than that by smelt compare.
"""
EXAMPLES = """\
examples:
  smelt perplexity model.gguf wiki.test.raw
  smelt perplexity model.gguf wiki.test.raw --chunks 20
  smelt perplexity model.gguf held.txt --n-ctx 2048 --kv-type f32 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file; of a split model the first")
    add_chunk_arguments(parser)
    add_engine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_chunk_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, and how it is cut."""
    parser.add_argument("file", metavar="FILE", help="the text, in UTF-8 (- is stdin)")
    parser.add_argument(
        "--n-ctx",
        type=integer_from(4),
        default=512,
        metavar="N",
        help="tokens a chunk (default: 512)",
    )
    parser.add_argument(
        "--chunks", type=integer_from(1), metavar="N", help="only the first N chunks"
    )


def run(args: argparse.Namespace) -> int:
    text = read_file(args.file)
    with open_engine(args, args.n_ctx) as engine, progress_bar("perplexity") as progress:
        import numpy as np

        from smelt.perplexity import chunk_losses, summarise, text_chunks

        chunks, first = text_chunks(engine, text, args.n_ctx, args.chunks)
        losses = np.empty(0)
        for done, chunk in enumerate(chunks, 1):
            new = chunk_losses(engine.logits_in_chunks(chunk, first), chunk, first)
            losses = np.concatenate([losses, new])
            result = summarise(losses)
            progress(done, len(chunks), f"{result.value:.4f} ± {result.stderr:.4f}")
    if args.json:
        report = {
            "perplexity": result.value,
            "stderr": result.stderr,
            "n_tokens": result.n_tokens,
            "n_chunks": len(chunks),
            "n_ctx": args.n_ctx,
        }
        print_json(report)
    else:
        print(
            f"perplexity {result.value:.4f} ± {result.stderr:.4f}, {result.n_tokens} tokens "
            f"scored in chunks of {args.n_ctx}"
        )
    return 0
