"""An Engine among threads that share it, and in processes that fork."""

from __future__ import annotations

import itertools
import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from small_engine import HANG, SAMPLED, in_a_process, prompt_ids, same
from smelt import Engine

# --- threads


@pytest.mark.parametrize("n_threads", [2, 4])
def test_threads_that_share_an_engine(path: Path, n_threads: int) -> None:
    with Engine(path, threads=1, chunk_tokens=64) as alone:
        prompts = [prompt_ids(n, seed) for n, seed in ((9, 1), (50, 1), (50, 2), (120, 2), (3, 3))]
        expected = [alone.generate(p, 10, logprobs=2, **SAMPLED) for p in prompts]
        logits = [alone.logits(p) for p in prompts]
    engine = Engine(path, threads=2, chunk_tokens=64)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        try:
            for _ in range(12):
                at = chance.randrange(len(prompts))
                what = chance.choice(["generate", "stream", "batch", "logits"])
                if what == "generate":
                    c = engine.generate(prompts[at], 10, logprobs=2, **SAMPLED)
                    assert same(c, expected[at])
                elif what == "stream":
                    stream = engine.start(prompts[at], 10, logprobs=2, **SAMPLED)
                    pieces = list(itertools.islice(stream, chance.choice([2, 99])))
                    assert expected[at].text.startswith("".join(p.text for p in pieces))
                elif what == "batch":
                    batch = engine.generate(prompts, 10, logprobs=2, **SAMPLED)
                    assert all(map(same, batch, expected))
                else:
                    assert np.array_equal(engine.logits(prompts[at]), logits[at])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * HANG)
    assert not any(thread.is_alive() for thread in threads), "the threads hang"
    assert errors == []
    assert engine.cache._active == []
    pages = [page for sequence in engine.cache._idle for page in sequence.pages]
    assert len(set(pages)) + len(engine.cache._free) == engine.cache.n_pages
    engine.close()


def test_long_steps_of_threads_do_not_mix(slow_path: Path) -> None:
    """Steps of some milliseconds, so that both threads want to run one at the same time."""
    prompts = [prompt_ids(400, seed) for seed in range(2)]
    with Engine(slow_path, threads=1) as engine:
        expected = [engine.logits(prompt) for prompt in prompts]
        results: dict[int, list[np.ndarray]] = {0: [], 1: []}

        def work(number: int) -> None:
            for _ in range(6):
                results[number].append(engine.logits(prompts[number]))

        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * HANG)
        assert not any(thread.is_alive() for thread in threads), "the threads hang"
    for number, logits in results.items():
        assert len(logits) == 6
        assert all(np.array_equal(each, expected[number]) for each in logits)


def test_the_first_use_of_the_tokenizer_by_two_threads(path: Path) -> None:
    engine = Engine(path)
    results: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: results.append(engine.tokenize("the end")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert results == [engine.tokenize("the end")] * 4
    engine.close()


# --- forks

FORKED = """
import os, sys, threading, time
from smelt import DeviceError, Engine

engine = Engine(sys.argv[1], threads=int(sys.argv[2]))
expected = engine.generate([1, 5, 9], 3).token_ids
busy = sys.argv[3] == "busy"
ended = False

def generate():
    while not ended:
        engine.generate(list(range(1, 150)), 20)

thread = threading.Thread(target=generate)
if busy:
    thread.start()
for _ in range(5):
    stream = engine.stream([1, 5, 9], 30)
    next(stream)
    time.sleep(0.02)  # idle threads sleep by then
    child = os.fork()
    if child == 0:
        told = False
        try:
            engine.generate([1, 5, 9], 3)
        except DeviceError as error:
            told = "fork" in str(error)
        del stream  # gives its pages back
        engine.close()
        del engine
        os._exit(7 if told else 1)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        ended = True
        sys.exit("the child hangs")
    if os.waitstatus_to_exitcode(status) != 7:
        ended = True
        sys.exit(f"the child ended with status {status}")
ended = True
if busy:
    thread.join()
assert engine.generate([1, 5, 9], 3).token_ids == expected
print("ended")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("what", ["idle", "busy"])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_forked_child_is_told_to_make_its_own_engine(path: Path, threads: int, what: str) -> None:
    assert in_a_process(FORKED, path, threads, what) == "ended\n"


def test_an_engine_made_after_a_fork_works(path: Path) -> None:
    code = """
import os, sys
from smelt import Engine
first = Engine(sys.argv[1], threads=2)
expected = first.generate([1, 5, 9], 6).token_ids
child = os.fork()
if child == 0:
    second = Engine(sys.argv[1], threads=2)
    os._exit(second.generate([1, 5, 9], 6).token_ids != expected)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_a_process(code, path) == "0\n"
