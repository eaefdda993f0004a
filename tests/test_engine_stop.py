"""Stopping an Engine: cancel, Ctrl-C, close."""

from __future__ import annotations

import gc
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_engine import HANG, N_CTX, in_a_process, prompt_ids, same
from smelt import Engine
from smelt.errors import CancelledError, SmeltError
from tiny_model import EOS


@pytest.fixture(params=["cpu", "reference"])
def engine(path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Steps of 8 tokens on one thread: where a step stops is then known."""
    with Engine(path, device=request.param, threads=1, chunk_tokens=8) as engine:
        yield engine


def before_step(engine: Engine, number: int, action: Callable[[], object]) -> None:
    """Calls `action` when the native side is about to run step `number`, counted from 1."""
    program, count = engine._program, itertools.count(1)

    def counted(run: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any) -> Any:
            if next(count) == number:
                action()
            return run(*arguments)

        return counting

    for name in ("run", "run_top"):
        if hasattr(program, name):  # the reference device gives all logits
            setattr(program, name, counted(getattr(program, name)))


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
run = engine._program._run  # of all logits and of the largest

def watched(pool, step, logits):
    global inside, most, seen
    seen, inside = 0, True
    run(pool, step, logits)
    inside = False
    most = max(most, seen)

def count(number, frame):
    global seen
    seen += inside

engine._program._run = watched
for _ in range(20):
    assert not interrupted_by(count)
    if most > 1:
        break
print(most > 1)
"""
INTERRUPTED_STEPS = """
def interrupt(number, frame):
    signal.setitimer(signal.ITIMER_REAL, 0)  # once: not again while this one is handled
    raise KeyboardInterrupt

for _ in range(5):
    assert interrupted_by(interrupt)
    assert engine.cache._active == []
    assert engine.generate([1, 5, 9], 6).token_ids == expected
print("ended")
"""


def test_signals_are_seen_between_ops(slow_path: Path) -> None:
    """Without a look at them inside a step, a handler could run once a step at most."""
    assert in_a_process(LONG_STEP + SIGNALS_IN_A_STEP, slow_path, 1) == "True\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupted_step(slow_path: Path, threads: int) -> None:
    assert in_a_process(LONG_STEP + INTERRUPTED_STEPS, slow_path, threads) == "ended\n"


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
