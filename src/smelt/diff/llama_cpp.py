"""Another engine's dump as a run: tensors under llama.cpp's names, in a .npz file.

Such a file has arrays "PROMPT/trace/TENSOR" and "PROMPT/logits" (of the last positions at most) for
one or several prompts, or of one prompt without the folders. A .json file of the same name beside
it, if there is one, says what the prompts are: {PROMPT: {"prompt": text, "prompt_tokens": [ids]}}.
Names are those of llama.cpp's graph (src/llama-graph.cpp, `cb`), with "#2" and so on for the second
tensor of a name; the names are explained at LAYER_TENSORS.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SmeltError
from ..trace import Run, RunInfo
from ..trace.arrays import ArrayFile

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["DumpFile", "DumpRun", "value_of"]

# llama.cpp's name of a tensor of layer N, without "-N", and smelt's value, without "blk.N.". "#2"
# and so on count tensors of one name: a reshape of Qcur or Kcur (#2), then what RoPE made of it
# (#3); norm is a normalised row before its gain: NORMS says of which norm the first, second and so
# on are.
LAYER_TENSORS = {
    "attn_norm": "attn_norm",
    "Qcur": "q",
    "Qcur#2": "q",
    "Qcur#3": "q_rope",
    "Qcur_normed": "q_norm",
    "Kcur_normed": "k_norm",
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
    "ffn_norm": "ffn_norm",
    "ffn_gate": "ffn_gate",
    "ffn_up": "ffn_up",
    "ffn_swiglu": "ffn_swiglu",
    "ffn_out": "ffn_out",
    "l_out": "out",
}
OTHER_TENSORS = {"embd": "embed", "norm": "norm", "result_norm": "norm", "result_output": "logits"}
TOKENS = "prompt_tokens"
NORMS = ("attn_norm", "ffn_norm")
NORMS_OF_HEADS = ("attn_norm", "q_norm", "k_norm", "ffn_norm")  # where heads are normalised, too
GAINS = {"q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "norm": "output_norm"}  # other names
LOGITS = "logits"  # the array beside the traces


def value_of(
    tensor: str, n_layers: int, nodes: list[str], norms: Sequence[str] = NORMS
) -> str | None:
    """The name of the value in which smelt has llama.cpp's tensor, or None.

    nodes: the names of the tensors that llama.cpp did not name, "node_N", in their order. In the
    last layer it takes the rows whose logits are wanted before it adds the residual: of the
    attention's output first, and of the layer's input. smelt takes them at the end.
    norms: those of a layer, in their order.
    """
    if tensor in nodes and len(nodes) == 2:
        before = f"blk.{n_layers - 2}.out" if n_layers > 1 else "embed"
        return (f"blk.{n_layers - 1}.attn_out", before)[nodes.index(tensor)]
    if tensor in OTHER_TENSORS or tensor == LOGITS:
        return OTHER_TENSORS.get(tensor, LOGITS)
    match = re.fullmatch(r"([A-Za-z_]+)-(\d+)(?:#(\d+))?", tensor)
    if match and match[1] == "norm":
        number = int(match[3] or 1) - 1
        return f"blk.{match[2]}.{norms[number]}" if number < len(norms) else None
    name = LAYER_TENSORS.get(match[1] + (f"#{match[3]}" if match[3] else "")) if match else None
    return f"blk.{match[2]}.{name}" if match and name else None


class DumpFile:
    """The .npz file: which prompts it has, and of which of them traces."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.arrays = ArrayFile(self.path)
        if not self.arrays:
            raise SmeltError(f"{self.path}: expected a dump of tensors, found no array")

    @cached_property
    def tensors(self) -> dict[str, dict[str, str]]:
        """Of every prompt the key of each tensor; prompts with a trace first. The prompt of a file
        without folders is ""."""
        found: dict[str, dict[str, str]] = {}
        for key in self.arrays:
            prompt, *rest = key.split("/") if "/" in key else ("", key)
            found.setdefault(prompt, {})[rest[-1]] = key
        return dict(sorted(found.items(), key=lambda item: len(item[1]) < 2))

    @cached_property
    def prompts(self) -> dict[str, dict[str, Any]]:
        """What the .json file beside it says of the prompts."""
        beside = self.path.with_suffix(".json")
        if not beside.is_file():
            return {}
        try:
            facts = json.loads(beside.read_bytes())
            prompts = {key: fact for key, fact in facts.items() if isinstance(fact, dict)}
            if not all(type(i) is int for f in prompts.values() for i in f.get(TOKENS, [])):
                raise TypeError(f"{TOKENS} holds something else than token ids")
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise SmeltError(
                f'{beside}: expected {{PROMPT: {{"prompt": text, "{TOKENS}": [ids]}}}}: {error}'
            ) from None
        return prompts

    def choose(self, wanted: str | None) -> str:
        """The prompt of that key or text, or the first one; SmeltError if there is no such one."""
        if wanted is None:
            return next(iter(self.tensors))
        for key in self.tensors:
            if wanted in (key, self.prompts.get(key, {}).get("prompt")):
                return key
        raise SmeltError(
            f"{self.path}: no prompt {wanted!r}; the dump has {', '.join(self.tensors)}"
        )

    def token_ids(self, prompt: str) -> list[int]:
        """Of a prompt, [] where the file beside the dump does not say."""
        return list(self.prompts.get(prompt, {}).get(TOKENS, []))


class DumpRun(Run):
    """One prompt of a dump as a run, in smelt's layout, to be compared with a run of `model`.

    unmatched: tensors of the dump that have no counterpart.
    """

    def __init__(self, dump: DumpFile, prompt: str, model: Model, n_tokens: int):
        config = model.config
        ids = dump.token_ids(prompt)
        info = RunInfo(
            model=str(dump.path),
            name=f"{dump.path.stem} {prompt}".strip(),
            architecture=config.architecture,
            format="",
            device="llama.cpp",
            fused=False,
            kv_type="f32",
            n_layers=config.n_layers,
            token_ids=ids,
            token_texts=[""] * n_tokens,
            logit_rows=list(range(n_tokens)),
        )
        super().__init__(info, (), {}, {}, dump.path)
        self._dump, self._model, self._n = dump, model, n_tokens
        self._keys = dump.tensors[prompt]
        nodes = [t for t in self._keys if re.fullmatch(r"node_\d{1,9}", t)]
        nodes.sort(key=lambda t: int(t[5:]))
        self._tensors: dict[str, list[str]] = {}
        self._values: dict[str, str] = {}
        self.unmatched: list[str] = []
        norms = NORMS_OF_HEADS if any("_normed" in t for t in self._keys) else NORMS
        for tensor in self._keys:
            value = value_of(tensor, config.n_layers, nodes, norms)
            if value is None:
                self.unmatched.append(tensor)
            else:
                self._tensors.setdefault(value, []).append(tensor)
                self._values[tensor] = value

    @property
    def n_tokens(self) -> int:
        return self._n

    @property
    def n_tensors(self) -> int:
        """How many tensors have a counterpart."""
        return len(self._keys) - len(self.unmatched)

    def sources(self, name: str) -> list[str]:
        return self._tensors.get(name, [])

    def blocks(self, name: str) -> Any:
        """All rows of a tensor in one block, which ends with the prompt's last token."""
        found = self._dump.arrays[self._keys[name]]
        try:
            array = self._as_value(name, found)
        except (IndexError, KeyError, ValueError):
            array = None
        if array is None or not 0 < len(array) <= self._n:
            raise SmeltError(
                f"{self.path}: tensor {name} of shape {list(found.shape)} does not fit "
                f"{self._n} tokens of {self._model.file.path}"
            )
        yield self._n - len(array), array

    def _as_value(self, tensor: str, x: np.ndarray) -> np.ndarray:
        """[tokens, ...] as smelt has it: norms with their gain, and of scores the past alone."""
        kind = tensor.partition("-")[0]
        c = self._model.config
        if kind == "norm":
            prefix, dot, role = self._values[tensor].rpartition(".")
            gain = self._model.weights[f"{prefix}{dot}{GAINS.get(role, role)}.weight"]
            return np.asarray(x * gain.data.view("<f4"))
        if kind in ("kq", "kq_soft_max", "kqv"):  # [n_heads, n, KV axis or head_dim]
            x = x.transpose(1, 0, 2)
        if kind in ("kq", "kq_soft_max"):  # its axis is padded, and scores of the future are there
            past = np.arange(self._n - len(x), self._n)[:, None] >= np.arange(self._n)
            x = np.where(past[:, None], x[..., : self._n], 0)
        heads = {"Q": c.n_heads, "K": c.n_kv_heads, "V": c.n_kv_heads}
        if kind in ("Qcur", "Kcur", "Vcur") and x.ndim == 2:
            return x.reshape(len(x), heads[kind[0]], -1)
        return x.reshape(len(x), c.n_heads, -1) if kind == "kqv_out" else x
