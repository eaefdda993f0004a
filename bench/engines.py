"""The engines that compare.py measures, each in a process of its own that answers one line a line.

python bench/engines.py smelt model.gguf 2
< decode 64
> 41.7
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import Protocol


class Measured(Protocol):
    """An engine under test. Both give tokens a second."""

    def decode(self, n_tokens: int) -> float:
        """Generating n_tokens after a prompt of 8."""

    def prefill(self, n_tokens: int) -> float:
        """Evaluating a prompt of n_tokens from an empty cache."""


def random_prompt(n_tokens: int) -> list[int]:
    return [random.randrange(300, 1000) for _ in range(n_tokens)]


class Smelt:
    """This project."""

    def __init__(self, path: str, threads: int):
        from smelt import Engine

        self.engine = Engine(path, threads=threads, n_ctx=4608)
        self.never = {i: float("-inf") for i in self.engine.tokenizer.eog_ids}

    def decode(self, n_tokens: int) -> float:
        prompt = random_prompt(8)
        done = self.engine.generate(prompt, max_tokens=n_tokens + 1, logit_bias=self.never)
        return done.timings.generated_per_second

    def prefill(self, n_tokens: int) -> float:
        return self.engine.generate(random_prompt(n_tokens), 1).timings.prompt_per_second

    def turns(self, n_tokens: int) -> float:
        """Tokens decoded in the time that a byte takes to be read, where tokens and readings of
        memory take turns: how fast it is changes within a second on some machines."""
        from smelt.limits import AHEAD, Probe

        assert self.engine.cpu_device
        probe = Probe(self.engine.cpu_device)
        pieces = self.engine.stream(random_prompt(8), n_tokens + 1, logit_bias=self.never)
        next(pieces)
        decoding, reading = 0.0, dict.fromkeys(AHEAD, 0.0)
        for _ in range(n_tokens):
            for ahead in AHEAD:
                reading[ahead] += 1 / probe.read(ahead)
            begun = time.perf_counter()
            next(pieces)
            decoding += time.perf_counter() - begun
        return min(reading.values()) / decoding


class LlamaCpp:
    """llama.cpp as the xllamacpp package ships it, through its own server's timings."""

    def __init__(self, path: str, threads: int):
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = path
        parameters.n_ctx = 4608
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        self.server = xllamacpp.Server(parameters)

    def timings(self, prompt: list[int], n_tokens: int) -> dict[str, float]:
        request = {
            "prompt": prompt,
            "n_predict": n_tokens,
            "temperature": 0,
            "cache_prompt": False,
            "ignore_eos": True,
        }
        timings: dict[str, float] = self.server.handle_completions(request)["timings"]
        return timings

    def decode(self, n_tokens: int) -> float:
        return self.timings(random_prompt(8), n_tokens + 1)["predicted_per_second"]

    def prefill(self, n_tokens: int) -> float:
        return self.timings(random_prompt(n_tokens), 1)["prompt_per_second"]


class LlamaBench:
    """llama.cpp's own llama-bench, which for each measurement loads the model anew and warms up,
    and counts neither. Its tokens are decoded after no prompt."""

    def __init__(self, path: str, threads: int, program: str):
        self.command = [program, "-m", path, "-t", str(threads), "-r", "1", "-o", "json"]

    def rate(self, *work: str) -> float:
        (found,) = json.loads(subprocess.check_output([*self.command, *work]))
        return float(found["avg_ts"])

    def decode(self, n_tokens: int) -> float:
        return self.rate("-p", "0", "-n", str(n_tokens))

    def prefill(self, n_tokens: int) -> float:
        return self.rate("-p", str(n_tokens), "-n", "0")


ENGINES = {"smelt": Smelt, "llama.cpp": LlamaCpp, "llama-bench": LlamaBench}


def main() -> None:
    name, path, threads, *program = sys.argv[1:]
    answers = sys.stdout
    sys.stdout = sys.stderr  # what an engine prints must not be taken for an answer
    engine: Measured = ENGINES[name](path, int(threads), *program)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        command, n_tokens = line.split()
        print(getattr(engine, command)(int(n_tokens)), file=answers, flush=True)


if __name__ == "__main__":
    main()
