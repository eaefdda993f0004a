"""Run as a program: what llama.cpp, through the xllamacpp package, says comes next.

Reads {"models": [paths], "tokens": [ids]} as JSON from standard input; writes the last argument's
file: for each model the natural-log probabilities of the next token, [n_vocab].
"""

from __future__ import annotations

import json
import sys

import xllamacpp  # type: ignore


def next_logprobs(path: str, tokens: list[int], n_vocab: int) -> list[float]:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    request = {"prompt": tokens, "n_predict": 1, "n_probs": n_vocab, "temperature": 0.0}
    answer = xllamacpp.Server(params).handle_completions(request)
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    by_id = {entry["id"]: entry["logprob"] for entry in top}
    return [by_id[token] for token in range(n_vocab)]


if __name__ == "__main__":
    task = json.load(sys.stdin)
    results = [next_logprobs(path, task["tokens"], task["n_vocab"]) for path in task["models"]]
    with open(sys.argv[-1], "w") as file:
        json.dump(results, file)
