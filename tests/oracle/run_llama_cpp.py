"""Run as a program: what llama.cpp, through the xllamacpp package, says comes next.

Reads {"models": [paths], "tokens": [ids], "first": index, "n_vocab": n} as JSON from standard
input; writes float64 [n_models, n_tokens - first, n_vocab] as the last argument's .npy file: the
natural-log probabilities of what follows each token from index `first` on.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import xllamacpp  # type: ignore


def next_logprobs(path: str, tokens: list[int], first: int, n_vocab: int) -> np.ndarray:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = max(256, len(tokens) + 8)
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    found = np.empty((len(tokens) - first, n_vocab))
    for row, end in zip(found, range(first + 1, len(tokens) + 1), strict=True):
        request = {
            "prompt": tokens[:end],  # all but the last token are in its cache
            "n_predict": 1,
            "n_probs": n_vocab,
            "temperature": 0.0,
        }
        answer = server.handle_completions(request)
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            row[entry["id"]] = entry["logprob"]
    return found


if __name__ == "__main__":
    task = json.load(sys.stdin)
    options = task["tokens"], task["first"], task["n_vocab"]
    np.save(sys.argv[-1], [next_logprobs(path, *options) for path in task["models"]])
