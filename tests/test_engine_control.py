"""Stopping an Engine: cancel, Ctrl-C, close, threads that share it, and forks.

Where the mistake would be a hang, the test runs in a process of its own, which is ended if it
does; a machine that is only slow has half a minute.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smelt
from small_engine import N_CTX, SAMPLED, SMALL, prompt_ids, same
from smelt import Engine
from smelt.errors import CancelledError, SmeltError
from tiny_model import EOS, write_tiny_llama

HANG = 30  # seconds
SOURCES = Path(smelt.__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", **SMALL)


@pytest.fixture(params=["cpu", "reference"])
def engine(path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Steps of 8 tokens on one thread: where a step stops is then known."""
    with Engine(path, device=request.param, threads=1, chunk_tokens=8) as engine:
        yield engine


def before_step(engine: Engine, number: int, action: Callable[[], object]) -> None:
    """Calls `action` when the native side is about to run step `number`, counted from 1."""
    run, count = engine._program.run, itertools.count(1)

    def counted(pool: Any, step: Any) -> np.ndarray:
        if next(count) == number:
            action()
        return run(pool, step)

    engine._program.run = counted  # type: ignore[method-assign]


def in_a_process(code: str, *arguments: object) -> str:
    """The output of a Python program; a failure if it fails or hangs."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCES), *sys.path])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HANG, check=False
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"the process hangs; it said {late.stdout!r} {late.stderr!r}")
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- cancel


def test_cancel_in_prefill(engine: Engine) -> None:
    before_step(engine, 3, engine.cancel)
    c = engine.generate(prompt_ids(60), 5, logprobs=2)
    assert (c.finish_reason, c.token_ids, c.text, c.logprobs) == ("cancelled", [], "", [])
    assert engine.cache._active == []
    again = engine.generate(prompt_ids(60), 5)
    assert again.timings.cached_tokens == 16  # two steps were complete
    assert again.finish_reason == "length" and len(again.token_ids) == 5


def test_cancel_in_decode(engine: Engine, path: Path) -> None:
    before_step(engine, 5, engine.cancel)
    c = engine.generate(prompt_ids(8), 20)
    with Engine(path, device=engine._device.name, threads=1) as other:
        assert c.token_ids == other.generate(prompt_ids(8), 20).token_ids[:4]
        assert same(engine.generate(prompt_ids(8), 20), other.generate(prompt_ids(8), 20))
    assert c.finish_reason == "cancelled"


def test_cancelled_text_is_complete(engine: Engine) -> None:
    """What was held back for a stop text comes out."""
    expected = engine.generate(prompt_ids(8), 4).text
    before_step(engine, 5, engine.cancel)
    c = engine.generate(prompt_ids(8), 20, stop=expected + "and then what never comes")
    assert (c.text, c.finish_reason) == (expected, "cancelled")


def test_cancel_a_batch(engine: Engine) -> None:
    """One has already reached the end of the context; only the others are cancelled."""
    before_step(engine, 40, engine.cancel)
    prompts = [prompt_ids(N_CTX - 2), prompt_ids(3, seed=1), prompt_ids(2, seed=2)]
    batch = engine.generate(prompts, None, logit_bias={EOS: -np.inf})
    assert [c.finish_reason for c in batch] == ["length", "cancelled", "cancelled"]
    assert len(batch[0].token_ids) == 3
    assert all(0 < len(c.token_ids) < 40 for c in batch[1:])


def test_cancel_a_stream(engine: Engine) -> None:
    stream = engine.start(prompt_ids(8), 20)
    pieces = [next(stream) for _ in range(3)]
    engine.cancel()
    pieces += list(stream)
    assert len(pieces) == 4 and pieces[-1].token_id is None
    c = stream.completion()
    assert (c.finish_reason, len(c.token_ids)) == ("cancelled", 3)
    assert c.text == "".join(piece.text for piece in pieces)


def test_cancel_reaches_what_has_begun_and_nothing_else(engine: Engine) -> None:
    begun = [engine.start(prompt_ids(8), 6), engine.start(prompt_ids(30), 6)]
    next(begun[0])
    engine.cancel()
    later = engine.start(prompt_ids(8), 6)
    list(later)
    assert later.completion().finish_reason == "length"
    for stream in begun:
        list(stream)
        assert stream.completion().finish_reason == "cancelled"


def test_cancel_with_nothing_to_cancel(engine: Engine) -> None:
    for _ in range(3):
        engine.cancel()
    assert engine.generate("the", 3).finish_reason == "length"


def test_cancel_logits_and_perplexity(engine: Engine) -> None:
    before_step(engine, 3, engine.cancel)
    with pytest.raises(CancelledError):
        engine.logits(prompt_ids(60))
    before_step(engine, 3, engine.cancel)
    with pytest.raises(CancelledError):
        engine.perplexity("the and once upon a time " * 30, n_ctx=32)
    assert engine.cache._active == []
    assert engine.logits(prompt_ids(60)).shape == (60, 384)


def test_cancel_from_another_thread(engine: Engine) -> None:
    began = threading.Event()
    before_step(engine, 3, began.set)

    def cancel() -> None:
        began.wait(HANG)
        engine.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    c = None
    for _ in range(100):  # until the thread has had its turn
        c = engine.generate(prompt_ids(60), None, logit_bias={EOS: -np.inf})
        if c.finish_reason == "cancelled":
            break
    thread.join()
    assert c is not None and c.finish_reason == "cancelled"
    assert engine.generate("the", 3).finish_reason == "length"


CANCEL_OFTEN = """
import random, sys, threading, time
from smelt import Engine

engine = Engine(sys.argv[1], threads=int(sys.argv[2]))
expected = engine.generate([1, 5, 9], 30).token_ids
ended = False

def cancel():
    chance = random.Random(1)
    while not ended:
        time.sleep(chance.random() * 0.002)
        engine.cancel()

thread = threading.Thread(target=cancel)
thread.start()
for _ in range(400):
    c = engine.generate([1, 5, 9], 30)
    assert c.token_ids == expected[: len(c.token_ids)]
    assert (c.finish_reason == "cancelled") == (len(c.token_ids) < 30)
ended = True
thread.join()
assert engine.generate([1, 5, 9], 30).token_ids == expected
print("ended")
"""


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_cancel_often(path: Path, threads: int) -> None:
    """A cancel that arrives between any two ops, while the threads of a step are apart."""
    assert in_a_process(CANCEL_OFTEN, path, threads) == "ended\n"


# --- Ctrl-C

LONG_STEP = """
import os, signal, sys, threading
from smelt import Engine

os.environ["SMELT_ISA"] = "scalar"
engine = Engine(sys.argv[1], threads=int(sys.argv[2]), n_ctx=1024, chunk_tokens=1024)
ids = [1] + [5 + i % 300 for i in range(1023)]
expected = engine.generate([1, 5, 9], 6).token_ids

def interrupted_by(handler):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        engine.generate(ids, 1)
        return False
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
"""
SIGNALS_IN_A_STEP = """
inside, most = False, 0
run = engine._program.run

def watched(pool, step):
    global inside, most, seen
    seen, inside = 0, True
    result = run(pool, step)
    inside = False
    most = max(most, seen)
    return result

def count(number, frame):
    global seen
    seen += inside

engine._program.run = watched
for _ in range(20):
    assert not interrupted_by(count)
    if most > 1:
        break
print(most > 1)
"""
INTERRUPTED_STEPS = """
def interrupt(number, frame):
    raise KeyboardInterrupt

for _ in range(5):
    assert interrupted_by(interrupt)
    assert engine.cache._active == []
    assert engine.generate([1, 5, 9], 6).token_ids == expected
print("ended")
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six layers: a step of 1,024 tokens is some hundred milliseconds in forty ops."""
    path = tmp_path_factory.mktemp("models") / "slow.gguf"
    return write_tiny_llama(path, **(SMALL | {"n_layers": 6, "n_ctx": 1024}))


def test_signals_are_seen_between_ops(slow: Path) -> None:
    """Without a look at them inside a step, a handler could run once a step at most."""
    assert in_a_process(LONG_STEP + SIGNALS_IN_A_STEP, slow, 1) == "True\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupted_step(slow: Path, threads: int) -> None:
    assert in_a_process(LONG_STEP + INTERRUPTED_STEPS, slow, threads) == "ended\n"


def test_ctrl_c_between_steps(engine: Engine) -> None:
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    before_step(engine, 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.generate(prompt_ids(60), 5)
    assert engine.cache._active == []
    assert engine.generate(prompt_ids(60), 5).timings.cached_tokens == 16


# --- close


def calls(engine: Engine) -> dict[str, Callable[[], object]]:
    return {
        "generate": lambda: engine.generate("the", 2),
        "generate ids": lambda: engine.generate([1, 5], 2),
        "a batch": lambda: engine.generate(["the", "and"], 2),
        "no tokens": lambda: engine.generate("the", 0),
        "stream": lambda: list(engine.stream("the", 2)),
        "start": lambda: engine.start("the", 2),
        "logits": lambda: engine.logits([1, 5]),
        "perplexity": lambda: engine.perplexity("the and " * 40, n_ctx=8),
    }


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("name", calls(None))  # type: ignore[arg-type]
def test_a_closed_engine(path: Path, name: str, used: bool) -> None:
    engine = Engine(path)
    if used:
        engine.generate("the", 2)
    engine.close()
    with pytest.raises(SmeltError, match="closed"):
        calls(engine)[name]()


def test_a_closed_engine_has_no_tokenizer_to_build(path: Path) -> None:
    engine = Engine(path)
    engine.close()
    for call in (lambda: engine.tokenize("the"), lambda: engine.detokenize([5])):
        with pytest.raises(SmeltError):
            call()


def test_close_twice_and_cancel_after(path: Path) -> None:
    engine = Engine(path)
    engine.close()
    engine.close()
    engine.cancel()


def test_context_manager(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Engine(path) as engine:
        assert engine.generate("the", 1).token_ids
        raise ZeroDivisionError
    with pytest.raises(SmeltError, match="closed"):
        engine.generate("the", 1)


def test_close_under_a_stream(path: Path) -> None:
    engine = Engine(path)
    stream, other = engine.start("the", 9), engine.start("and", 9)
    next(stream)
    engine.close()
    for late in (stream, other):
        with pytest.raises(SmeltError, match="closed"):
            next(late)
    assert len(stream.completion().token_ids) == 1
    stream.close()
    del stream, other
    gc.collect()


def test_close_beside_a_running_thread(path: Path) -> None:
    engine, began, errors = Engine(path, threads=2), threading.Event(), []

    def generate() -> None:
        try:
            while True:
                engine.generate(prompt_ids(30), 20)
                began.set()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    assert began.wait(HANG)
    engine.close()
    thread.join(HANG)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [SmeltError]
    assert "closed" in str(errors[0])


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


def test_long_steps_of_threads_do_not_mix(slow: Path) -> None:
    """Steps of some milliseconds, so that both threads want to run one at the same time."""
    prompts = [prompt_ids(400, seed) for seed in range(2)]
    with Engine(slow, threads=1) as engine:
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


def test_a_context_that_is_used_up_again_and_again(path: Path) -> None:
    """Memory stays within what one context and the running sequences need."""
    with Engine(path, threads=2) as engine:
        for seed in range(12):
            engine.generate([prompt_ids(100, seed), prompt_ids(N_CTX, seed + 50)], 4)
        assert engine.cache.n_pages <= 2 * engine.cache.max_pages
