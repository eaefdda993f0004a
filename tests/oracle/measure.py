"""Another engine's answers (../shared/oracle), and smelt's distance from them and from the exact.

Exact means: the reference device, float64 on the decoded weights. Errors are ‖a - b‖ / ‖b‖.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smelt import Engine
from smelt.diff import Diff, compare
from smelt.diff.llama_cpp import DumpFile, DumpRun

QUANTISED = [
    *("Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0"),
    *("IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K"),
]
PROSE = [f"prose-code-7m-{format}" for format in ("F16", *QUANTISED)]
MODELS = ["stories260K-f32", *PROSE]
PROMPTS = ["one", "hello", "movie", "code", "unicode", "class", "prose"]
TRACED = ["hello", "movie"]


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what the other engine made of it."""

    text: str
    tokens: list[int]
    greedy: list[int]
    margins: list[float]  # of each greedy step: best logit less second
    logits: np.ndarray  # [n, n_vocab], of the last n positions of the prompt


class LogitErrors(NamedTuple):
    """Distances from the exact logits: of smelt with a KV cache in f32, of smelt with its usual
    one in f16, and of the other engine with one in f32."""

    smelt: float
    smelt_f16_cache: float
    other: float


class Oracle:
    """The answers about one model, and Engines on it."""

    def __init__(self, shared: Path, name: str):
        self.name = name
        self.path = shared / "models" / f"{name}.gguf"
        self._shared = shared
        self.dump = shared / "oracle" / f"{name}.npz"
        self._arrays = np.load(self.dump)

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        facts = json.loads((self._shared / "oracle" / f"{self.name}.json").read_text("utf-8"))
        return {
            key: Prompt(
                p["prompt"],
                p["prompt_tokens"],
                p["greedy_tokens"],
                p["greedy_margin"],
                self._arrays[f"{key}/logits"],
            )
            for key, p in facts.items()
        }

    @cached_property
    def perplexity(self) -> tuple[float, float]:
        """Of text/held.txt: value and standard error."""
        facts = json.loads((self._shared / "oracle" / "perplexity.json").read_text("utf-8"))
        model = facts["models"][self.name]
        return model["ppl"], model["stderr"]

    @cached_property
    def held(self) -> str:
        """The text whose perplexity it is."""
        return (self._shared / "text" / "held.txt").read_text("utf-8")

    def tensors(self, prompt: str) -> list[str]:
        """Names of the tensors of a prompt's trace."""
        start = f"{prompt}/trace/"
        return [name[len(start) :] for name in self._arrays.files if name.startswith(start)]

    def engine(self, device: str = "cpu", **options: Any) -> Engine:
        return Engine(self.path, device=device, **options)

    @cached_property
    def reference(self) -> Engine:
        """Kept, for its decoded weights."""
        return self.engine("reference")

    @cached_property
    def cpu(self) -> Engine:
        """The CPU device as it is used, and kept: a cache in f16."""
        return self.engine("cpu")

    @cached_property
    def precise(self) -> Engine:
        """The CPU device with a cache in f32, as in the oracle."""
        return self.engine("cpu", kv_type="f32")

    def logit_errors(self, prompt: str) -> LogitErrors:
        """Over the positions of the prompt that the oracle has."""
        p = self.prompts[prompt]
        exact = self.reference.logits(p.tokens)[-len(p.logits) :]
        smelt, used = (
            engine.logits(p.tokens)[-len(p.logits) :] for engine in (self.precise, self.cpu)
        )
        return LogitErrors(error(smelt, exact), error(used, exact), error(p.logits, exact))

    def greedy_logits(self, prompt: str, device: str) -> np.ndarray:
        """Logits that choose each greedy token, the oracle's own being fed: [n_greedy, n_vocab]."""
        p = self.prompts[prompt]
        engine = self.reference if device == "reference" else self.cpu
        return engine.logits([*p.tokens, *p.greedy[:-1]])[len(p.tokens) - 1 :]


@cache
def oracle(shared: Path, name: str) -> Oracle:
    return Oracle(shared, name)


def error(a: np.ndarray, b: np.ndarray) -> float:
    b = b.astype(np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def trace_diff(oracle: Oracle, prompt: str, device: str = "cpu") -> Diff:
    """The plain ops with a cache in f32, compared with the oracle's trace."""
    with oracle.engine(device, kv_type="f32") as engine:
        run = engine.trace(oracle.prompts[prompt].tokens)
        return compare(run, DumpRun(DumpFile(oracle.dump), prompt, engine.model, run.n_tokens))


def trace_errors(oracle: Oracle, prompt: str, device: str = "cpu") -> dict[str, float]:
    """The error of every tensor of the oracle's trace, by its name there."""
    tensors = oracle.tensors(prompt)
    differences = trace_diff(oracle, prompt, device).differences
    errors = {d.tensor: d.distance.relative for d in differences}
    return {name: errors[name] for name in tensors}
