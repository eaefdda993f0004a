"""Writes docs/accuracy.md: how far smelt is from the exact answer, and from llama.cpp.

    python bench/accuracy.py --output docs/accuracy.md

Needs the models and llama.cpp's recorded answers in ../shared; takes about a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from measure import MODELS, PROMPTS, PROSE, TRACED, LogitErrors, Oracle, trace_errors  # noqa: E402

INTRODUCTION = """\
# Accuracy

Written by `python bench/accuracy.py --output docs/accuracy.md`; the same measurements are asserted
in `tests/oracle`.

An error is ‖a − b‖ / ‖b‖. *Exact* is the device `reference`: NumPy in float64 on the decoded
weights, nothing rounded. llama.cpp's numbers (October 2026, CPU, KV cache in float32, no flash
attention) were recorded once, with its own quantisation of the same files. The models are
prose-code-7m, a Llama of 6.8 million parameters in thirteen formats, and stories260K in F32."""

LOGITS = """\
## Logits

The error of the logits against the exact ones, over seven prompts of 3 to 59 tokens (the last 12
positions of each): mean and worst of the prompts. llama.cpp rounds activations to 8 bits for its
dot products, and to 16 bits for F16 and BF16; smelt rounds them to 12 bits in blocks of at most 256
and not at all for float weights. The second pair of columns is smelt as it comes, with its KV cache
in f16; the others have it in f32.
"""

PERPLEXITY = """\
## Perplexity

Of `text/held.txt`, Python source that the models were not trained on: chunks of 512 tokens, the
second half of each scored. smelt with its KV cache in f16. The standard error of each value is
about 0.25, but both engines score the same text, so the values may be compared far more closely.
"""

TRACE = """\
## Every intermediate activation

prose-code-7m-F16, the prompts *hello* and *movie*, unfused, KV cache in f32: the error of every
tensor of llama.cpp's trace, the worst of the layers and prompts for each name. The second column is
the exact answer's distance from the same trace, which is llama.cpp's own error: where both agree,
that is what is seen.
"""


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a Markdown table; every column but the first is aligned to the right."""
    header = list(header)
    yield f"| {' | '.join(header)} |"
    yield "|---" + "|--:" * (len(header) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def logits_table(oracles: dict[str, Oracle]) -> Iterator[str]:
    def row(name: str) -> Iterator[str]:
        errors = [oracles[name].logit_errors(prompt) for prompt in PROMPTS]
        yield name
        for column in zip(*errors, strict=True):
            yield f"{np.mean(column):.1e}"
            yield f"{np.max(column):.1e}"
        mean = LogitErrors(*np.mean(errors, axis=0))
        yield f"{mean.other / mean.smelt:.1f}"

    heads = ["smelt: mean", "worst", "f16 cache: mean", "worst", "llama.cpp: mean", "worst"]
    return table(["file", *heads, "llama.cpp / smelt"], map(row, MODELS))


def perplexity_table(oracles: dict[str, Oracle]) -> Iterator[str]:
    def row(name: str) -> Iterator[str]:
        wanted, _ = oracles[name].perplexity
        value = oracles[name].cpu.perplexity(oracles[name].held).value
        yield from (name, f"{value:.4f}", f"{wanted:.4f}", f"{100 * (value / wanted - 1):+.3f} %")

    return table(["file", "smelt", "llama.cpp", "difference"], map(row, PROSE))


def trace_table(oracle: Oracle) -> Iterator[str]:
    worst: dict[str, list[float]] = {}
    for column, device in enumerate(("cpu", "reference")):
        for prompt in TRACED:
            for name, error in trace_errors(oracle, prompt, device).items():
                base, _, rest = name.partition("-")
                number = rest.partition("#")[2]
                kind = f"{base}#{number}" if number else base
                entry = worst.setdefault(kind, [0.0, 0.0])
                entry[column] = max(entry[column], error)
    rows = ([f"`{kind}`", *(f"{error:.1e}" for error in pair)] for kind, pair in worst.items())
    return table(["tensor", "smelt - llama.cpp", "exact - llama.cpp"], rows)


def write(shared: Path) -> str:
    oracles = {name: Oracle(shared, name) for name in MODELS}
    parts = [
        INTRODUCTION,
        "",
        LOGITS,
        *logits_table(oracles),
        "",
        PERPLEXITY,
        *perplexity_table(oracles),
        "",
        TRACE,
        *trace_table(oracles["prose-code-7m-F16"]),
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="the file to write; standard output without")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    text = write(options.shared)
    if options.output:
        options.output.write_text(text, "utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
