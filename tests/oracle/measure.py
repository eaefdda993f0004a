"""Another engine's answers (../shared/oracle), and smelt's distance from them and from the exact.

Exact means: the reference device, float64 on the decoded weights. Errors are ‖a - b‖ / ‖b‖.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smelt import Engine
from smelt.backends import open_device
from smelt.backends.base import PAGE_TOKENS, LoadedProgram, Step
from smelt.graph.ops import Value
from smelt.model import Model

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
        self._arrays = np.load(shared / "oracle" / f"{name}.npz")

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

    def trace(self, prompt: str) -> dict[str, np.ndarray]:
        start = f"{prompt}/trace/"
        files = self._arrays.files
        return {name[len(start) :]: self._arrays[name] for name in files if name.startswith(start)}

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


# llama.cpp's name of a tensor of layer N, without "-N"; smelt's value, without "blk.N."; and what
# makes the second comparable. "#2" and so on count tensors of one name: a reshape of Qcur or Kcur
# (#2), then what RoPE made of it (#3); norm#2 is the norm before the feed-forward.
LAYER_TENSORS = {
    "norm": "attn_norm",
    "attn_norm": "attn_norm",
    "Qcur": "q",
    "Qcur#2": "q",
    "Qcur#3": "q_rope",
    "Kcur": "k",
    "Kcur#2": "k",
    "Kcur#3": "k_rope",
    "Vcur": "v",
    "Vcur#2": "v",
    "kq": "kq",
    "kq_soft_max": "kq_softmax",
    "kqv": "kqv",
    "kqv_out": "kqv",
    "attn_out": "attn_out",
    "ffn_inp": "ffn_inp",
    "norm#2": "ffn_norm",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "ffn_gate",
    "ffn_up": "ffn_up",
    "ffn_swiglu": "ffn_swiglu",
    "ffn_out": "ffn_out",
    "l_out": "out",
}


def value_of(tensor: str, n_layers: int) -> str:
    """The name of the value in which smelt has llama.cpp's tensor."""
    last = n_layers - 1
    outside = {
        "embd": "embed",
        "norm": "norm",
        "result_norm": "norm",
        "result_output": "logits",
        # the rows whose logits are wanted, taken before the last layer's residual is added; smelt
        # takes them at the end, and all rows are wanted here
        "node_209": f"blk.{last}.attn_out",
        "node_210": f"blk.{last - 1}.out",
    }
    if tensor in outside:
        return outside[tensor]
    base, _, rest = tensor.partition("-")
    layer, _, number = rest.partition("#")
    return f"blk.{layer}." + LAYER_TENSORS[base + ("#" + number if number else "")]


def trace_errors(oracle: Oracle, prompt: str, device: str = "cpu") -> dict[str, float]:
    """The error of every tensor of the oracle's trace, by its name there."""
    model = Model(oracle.path)
    tokens = oracle.prompts[prompt].tokens
    loaded, read = run_traced(model, tokens, device)
    values = {value.name: value for value in loaded.program.values}
    n = len(tokens)
    errors = {}
    for name, wanted in oracle.trace(prompt).items():
        value = value_of(name, model.config.n_layers)
        got = read(values[value])
        kind = name.partition("-")[0]
        if kind == "norm":  # before the gain
            wanted = wanted * gain(model, value)
        elif kind in ("kq", "kq_soft_max"):  # [n_heads, n, 256 positions]; the past counts
            past = np.tril(np.ones((n, n), bool))
            wanted = wanted[..., :n] * past
            got = got.transpose(1, 0, 2)[..., :n]
        elif kind == "kqv":  # [n_heads, n, head_dim]
            wanted = wanted.transpose(1, 0, 2)
        errors[name] = error(got.reshape(wanted.shape), wanted)
    return errors


def gain(model: Model, value: str) -> np.ndarray:
    name = "output_norm" if value == "norm" else value
    return model.weights[f"{name}.weight"].data.view("<f4")


def run_traced(
    model: Model, tokens: list[int], device_name: str
) -> tuple[LoadedProgram, Callable[[Value], np.ndarray]]:
    """Runs the plain ops with every value in memory of its own; gives a reader of values."""
    n = len(tokens)
    device = open_device(device_name)
    program = model.program(PAGE_TOKENS, n, fused=False, reuse=False)
    loaded, pool = device.load(program), device.create_pool(model.config, "f32")
    pool.grow(1)
    rows = np.arange(n, dtype=np.int32)
    none, page_table = np.zeros(n, np.int32), np.zeros((1, 1), np.int32)
    logits = loaded.run(pool, Step(np.array(tokens, np.int32), rows, none, page_table, rows))

    def read(value: Value) -> np.ndarray:
        return logits if value.name == "logits" else loaded.read(value, n)

    return loaded, read
