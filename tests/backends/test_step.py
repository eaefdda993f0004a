"""Steps that no Engine would make: refused with a DeviceError, and the device goes on working."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import Feed, Runner, assert_same_bits, cpu_device, make_step, metal_device

from small_config import make_config
from smelt.backends import open_device
from smelt.backends.base import LoadedProgram, PagePool, Step
from smelt.errors import CancelledError, DeviceError
from smelt.model import Model
from tiny_model import write_tiny_llama

MAX_TOKENS = 8


@pytest.fixture(scope="module", params=["cpu", "metal"])
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedProgram, PagePool]:
    model = Model(write_tiny_llama(Path(tmp_path_factory.mktemp("step")) / "m.gguf", "q8_0"))
    device = cpu_device(threads=2) if request.param == "cpu" else metal_device()
    pool = device.create_pool(model.config, "f16")
    pool.grow(4)
    return device.load(model.program(128, MAX_TOKENS, 4)), pool


def step(n_tokens: int = 4, **changes: np.ndarray) -> Step:
    good = make_step(n_tokens)
    fields = {"logit_rows": np.array([n_tokens - 1], np.int32), **changes}
    return replace(good, **fields)


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    "wrong",
    [
        step(token_ids=int32(0, 1, 2, 384)),
        step(token_ids=int32(-1, 1, 2, 3)),
        step(token_ids=int32(0, 1, 2, 2**31 - 1)),
        step(positions=int32(0, 1, 2, -1)),
        step(positions=int32(0, 1, 2, 32)),
        step(positions=int32(0, 1, 2, 2**31 - 1)),
        step(sequences=int32(0, 0, 0, 1)),
        step(sequences=int32(-1, 0, 0, 0)),
        step(page_table=int32(10**6)[None]),
        step(page_table=int32(-1)[None]),
        step(logit_rows=int32(4)),
        step(logit_rows=int32(-1)),
        step(logit_rows=int32(0, 1, 2, 3, 0)),
        step(MAX_TOKENS + 1),
    ],
)
def test_a_wrong_step_is_refused(loaded: tuple[LoadedProgram, PagePool], wrong: Step) -> None:
    program, pool = loaded
    before = program.run(pool, step())
    with pytest.raises(DeviceError):
        program.run(pool, wrong)
    assert_same_bits(program.run(pool, step()), before)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (step(positions=int32(0, 1, 2)), ValueError),
        (step(positions=int32(0, 1, 2, 3, 4)), ValueError),
        (step(sequences=int32(0)), ValueError),
        (replace(step(), token_ids=[0, 1, 2, 2**31]), OverflowError),
        (replace(step(), page_table=[[-(2**31) - 1]]), OverflowError),
        (replace(step(), logit_rows=[None]), TypeError),
    ],
)
def test_numbers_that_are_no_step_are_refused(
    loaded: tuple[LoadedProgram, PagePool], wrong: Step, error: type[Exception]
) -> None:
    program, pool = loaded
    before = program.run(pool, step())
    with pytest.raises(error):
        program.run(pool, wrong)
    assert_same_bits(program.run(pool, step()), before)


def test_a_sequence_has_no_pages_but_its_own(loaded: tuple[LoadedProgram, PagePool]) -> None:
    """Not even where another one of the step has more."""
    program, pool = loaded
    wrong = Step([0, 1], [32, 32], [0, 1], [[2], [1, 3]], [1])
    with pytest.raises(DeviceError):
        program.run(pool, wrong)


def test_lists_and_arrays_are_the_same_step(loaded: tuple[LoadedProgram, PagePool]) -> None:
    """Of two sequences, one with more pages than the other, in lists of their own lengths."""
    program, pool = loaded
    table = np.array([[2, 0], [1, 3]], np.int32)
    first = step(4, sequences=int32(0, 0, 1, 1), positions=int32(0, 1, 0, 1), page_table=table)
    lists = Step([0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1], [[2], [1, 3]], [3])
    assert_same_bits(program.run(pool, lists), program.run(pool, first))


@pytest.mark.parametrize(
    ("fused", "wrong"),
    [
        # a page that is not there, between two tokens of one sequence
        (True, step(page_table=int32(0, 10**6, 0, 0)[None], positions=int32(0, 1, 2, 96))),
        # a position beyond the score rows that the program was recorded with
        (False, step(page_table=int32(*range(4), 0)[None], positions=int32(0, 1, 2, 128))),
    ],
)
def test_a_step_that_would_leave_its_memory_is_refused(
    fused: bool, wrong: Step, tmp_path: Path
) -> None:
    """In a process of its own, so that a crash is a failure of this test and not of the run."""
    path = write_tiny_llama(tmp_path / "m.gguf", "q8_0")
    child = multiprocessing.get_context("spawn").Process(
        target=expect_refusal, args=(path, fused, wrong)
    )
    child.start()
    child.join()
    assert child.exitcode == 0


def expect_refusal(path: Path, fused: bool, wrong: Step) -> None:
    model = Model(path)
    device = open_device("cpu", 1)
    pool = device.create_pool(model.config, "f16")
    pool.grow(4)
    program = device.load(model.program(128, MAX_TOKENS, fused=fused))
    with pytest.raises(DeviceError):
        program.run(pool, wrong)


@pytest.mark.parametrize("change", [{"n_layers": 1}, {"n_kv_heads": 1}, {"head_dim": 32}])
@pytest.mark.parametrize("name", ["cpu", "metal"])
def test_the_pages_of_another_model_are_refused(
    name: str, change: dict[str, int], tmp_path: Path
) -> None:
    model = Model(write_tiny_llama(tmp_path / "m.gguf", "q8_0"))
    device = cpu_device(threads=2) if name == "cpu" else metal_device()
    loaded = device.load(model.program(128, MAX_TOKENS, 4))
    other = device.create_pool(replace(model.config, **change), "f16")
    other.grow(4)
    with pytest.raises(DeviceError, match="another layer or other heads"):
        loaded.run(other, step())
    own = device.create_pool(model.config, "f16")
    own.grow(4)
    assert np.isfinite(loaded.run(own, step())).all()


def test_a_step_without_logits(loaded: tuple[LoadedProgram, PagePool]) -> None:
    program, pool = loaded
    assert program.run(pool, step(logit_rows=int32())).shape == (0, 384)


def test_only_the_wanted_rows_have_logits(loaded: tuple[LoadedProgram, PagePool]) -> None:
    program, pool = loaded
    every = program.run(pool, step(logit_rows=int32(0, 1, 2, 3)))
    assert_same_bits(program.run(pool, step(logit_rows=int32(3, 1))), every[[3, 1]])


@pytest.mark.parametrize("name", ["cpu", "metal", "reference"])
def test_cancel_stops_the_next_step_until_taken_back(name: str, tmp_path: Path) -> None:
    model = Model(write_tiny_llama(tmp_path / "m.gguf", "q8_0"))
    device = metal_device() if name == "metal" else open_device(name, 2)
    program, pool = device.load(model.program(32, 8)), device.create_pool(model.config, "f16")
    pool.grow(1)
    before = program.run(pool, step())
    device.cancel()
    with pytest.raises(CancelledError):
        program.run(pool, step())
    device.cancel(False)
    np.testing.assert_array_equal(program.run(pool, step()), before)


@pytest.mark.parametrize("name", ["cpu", "metal", "reference"])
def test_kv_types_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="q8_0"):
        device = metal_device() if name == "metal" else open_device(name)
        device.create_pool(make_config(), "q8_0")


def test_an_instruction_set_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMELT_ISA", "sse9")
    with pytest.raises(DeviceError, match=r"sse9.*scalar"):
        open_device("cpu")


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_absurd_numbers_of_threads_are_refused(threads: int) -> None:
    with pytest.raises(DeviceError, match=str(threads)):
        open_device("cpu", threads)


def test_a_pool_without_memory_says_so_and_stays_as_it_was() -> None:
    config = make_config(2**10, 2**10, 2**15, n_layers=2**13)  # 2^50 bytes a slab
    pool = cpu_device().create_pool(config, "f32")
    for _ in range(2):
        with pytest.raises(DeviceError, match="MiB"):
            pool.grow(1)


def test_a_pool_of_a_shape_that_kernels_cannot_count_is_refused() -> None:
    with pytest.raises(DeviceError, match="1024 heads of 268435456"):
        cpu_device().create_pool(make_config(2**10, 2**10, 2**28), "f16")


def test_a_program_of_tokens_rows_needs_room_for_all() -> None:
    """Its last value has a row a token, and the caller's memory one a wanted logit."""
    feed = Feed()
    feed.rows("x", np.ones((4, 3), np.float32))
    runner = Runner(metal_device(), feed.ops, 4)
    with pytest.raises(DeviceError, match="logit row"):
        runner(step(3))
    assert_same_bits(runner(3), np.ones((3, 3), np.float32))
