"""What a step is on the Metal device: one command buffer, no allocation, as many dispatches and
barriers as the plan says; and what happens when the GPU or its memory fails.

All of it is read from the software device's log, so these tests skip on a real GPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from small_engine import in_a_process
from smelt import Engine
from smelt.backends import metal
from smelt.errors import DeviceError
from smelt.model import Model
from smelt.plan import plan
from softmetal_control import RECORD, Software
from tiny_model import write_tiny_llama

IDS = [1, 40, 50, 60]
NO_EOG = {"logit_bias": {2: -100.0}}  # a random model says "end" at once now and then


@pytest.fixture
def software() -> Iterator[Software]:
    software = Software()
    gc.collect()
    others = software.alive()  # of devices that other tests keep
    software.reset()
    software.on_fault(RECORD)
    software.log(1)
    yield software
    gc.collect()
    assert software.faults() == []
    left = software.alive()
    software.reset()
    assert left == others


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(tmp_path_factory.mktemp("metal")) / "m.gguf"
    return write_tiny_llama(path, "q8_0", n_ctx=1024, d_model=64, d_ff=96)


def engine(model: Path, **options: Any) -> Engine:
    return Engine(model, device="metal", **options)


def count(lines: list[str], event: str) -> int:
    return sum(line.split()[0] == event for line in lines)


def test_a_decode_step_is_one_command_buffer_and_allocates_nothing(
    software: Software, model: Path
) -> None:
    with engine(model) as e:
        stream = e.start(IDS, max_tokens=20, **NO_EOG)
        for _ in range(3):
            next(stream)
        software.clear_log()
        next(stream)
        lines = software.log_lines()
        stream.close()
        del stream
    planned = plan(model, device="metal").as_dict()
    assert [line.split()[0] for line in lines if line.split()[0] in ("commit", "wait")] == [
        "commit",
        "wait",
    ]
    for event in ("buffer", "pipeline", "library", "function", "queue", "buffer_freed"):
        assert count(lines, event) == 0, event
    # the command buffer of the next step is encoded while this one runs
    assert count(lines, "commands") == count(lines, "encoder") == 1
    # and top_k of the logits, which waits for them
    assert count(lines, "dispatch") == planned["dispatches"] + 1
    assert count(lines, "barrier") == planned["barriers"] + 1


def test_the_next_decode_step_is_encoded_ahead(software: Software, model: Path) -> None:
    with engine(model) as e:
        stream = e.start(IDS, max_tokens=40, **NO_EOG)
        ahead = []
        for _ in stream:
            ahead.append(e._program.statistics()["encoded_ahead"])
        del stream
    # the prompt, the first decode step after it, and the step for which the cache needed more room
    # are encoded when they come
    assert sum(ahead[2:]) >= len(ahead) - 4


def test_greedy_and_top_k_read_back_a_few_numbers(software: Software, model: Path) -> None:
    with engine(model) as e, Engine(model, device="cpu") as other:
        for options in ({}, {"temperature": 1.0, "top_k": 5, "seed": 3}):
            software.clear_log()
            wanted = other.generate(IDS, max_tokens=12, **options)
            assert e.generate(IDS, max_tokens=12, **options).token_ids == wanted.token_ids
            kernel = "top_k" if options else "argmax"
            assert any(kernel in line for line in software.log_lines())
        full = e.logits(IDS)
        work = [(e.cache.begin(IDS, reuse=False), IDS, [3])]
        top = e.step(work, e.cancellations, enough=7)[0]
        e.cache.end(work[0][0])
    best = np.argsort(-full[3], kind="stable")[:7]
    assert top == list(zip(best.tolist(), full[3][best].tolist(), strict=True))


def test_checked_no_access_is_out_of_bounds_unwritten_or_a_race(
    software: Software, model: Path
) -> None:
    """Every load and store of whole steps: within its buffer, of memory that was written, and never
    of what another dispatch without a barrier in between touches. Prompts in tiles, a batch of
    single tokens, and a context that is long enough to be split."""
    software.set_checked(1)
    with engine(model) as e:
        e.generate([[1, *range(3, 43)], IDS, [1, 9]], max_tokens=3, **NO_EOG)
        e.generate([1, *range(3, 260), *range(3, 270)], max_tokens=2, **NO_EOG)


def test_a_failing_gpu_is_an_error_that_names_the_op(software: Software, model: Path) -> None:
    with engine(model) as e:
        before = e.generate(IDS, max_tokens=4)
        software.fail_kernel(b"rope_kv_write", 3)
        with pytest.raises(DeviceError, match=r"rope_kv_write, layer 0"):
            e.generate([1, 7, 8], max_tokens=4)
        software.fail_kernel(None, 0)
        assert e.generate(IDS, max_tokens=4).token_ids == before.token_ids


def test_a_gpu_that_fails_once_is_an_error_and_goes_on(software: Software, tmp_path: Path) -> None:
    """With layers enough that the search for the op makes more than the 64 command buffers after
    which a queue waits."""
    path = write_tiny_llama(tmp_path / "m.gguf", "q8_0", n_layers=5, d_model=64, d_ff=96)
    with engine(path) as e:
        before = e.generate(IDS, max_tokens=4)
        software.fail_commands(1, 2, 5)
        with pytest.raises(DeviceError, match="not again"):
            e.generate([1, 7, 8], max_tokens=4)
        assert e.generate(IDS, max_tokens=4).token_ids == before.token_ids


@pytest.mark.parametrize("grown", [False, True])
def test_no_memory_for_the_cache_is_an_error_and_the_engine_goes_on(
    software: Software, model: Path, grown: bool
) -> None:
    with engine(model, n_ctx=1024) as e:
        if grown:
            e.generate(IDS, max_tokens=4)
        long = [1, *range(3, 300), *range(3, 300)]
        software.limit("memory", e._device.native.info()["allocated_bytes"] + 1000)
        with pytest.raises(DeviceError, match=r"KV cache.*n_ctx"):
            e.generate(long, max_tokens=1)
        software.limit("memory", 2**40)
        assert len(e.generate(long, max_tokens=1).token_ids) == 1


@pytest.mark.parametrize("nth", range(1, 9))
def test_no_memory_while_loading_leaves_nothing_behind(
    software: Software, model: Path, nth: int
) -> None:
    software.fail_allocation(nth)
    try:
        engine(model).close()
    except DeviceError as error:
        assert "memory" in str(error) or "refuses" in str(error)
    software.fail_allocation(0)


def test_a_file_larger_than_a_buffer_is_split(software: Software, tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf", "q8_0", n_kv_heads=1, head_dim=32)
    with engine(path, chunk_tokens=8) as e:
        logits = e.logits(IDS)
    biggest = 512 * 256 // 32 * 34  # a matrix of the feed-forward block
    software.limit("buffer_length", biggest + 2 * 4096)
    assert path.stat().st_size > 4 * biggest
    with engine(path, chunk_tokens=8) as e:
        np.testing.assert_array_equal(e.logits(IDS), logits)
        assert len({id(buffer) for buffer, _ in e._program._places}) > 4


def test_a_tensor_larger_than_a_buffer_is_refused_by_name(software: Software, model: Path) -> None:
    software.limit("buffer_length", 16384)
    with pytest.raises(DeviceError, match=r"token_embd\.weight.*MiB"):
        engine(model)


def test_where_the_mapping_is_refused_the_weights_are_copied(
    software: Software, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with engine(model) as e:
        wanted = e.logits(IDS)
    software.refuse_no_copy(1)
    with engine(model) as e:
        np.testing.assert_array_equal(e.logits(IDS), wanted)
    assert "copied instead" in caplog.text


@pytest.mark.parametrize(
    ("control", "value", "message"),
    [
        ("set_present", 0, "no GPU"),
        ("set_apple_family", 6, "family 7"),
        ("set_metal3", 0, "macOS 13"),
    ],
)
def test_gpus_that_cannot_do_it_are_refused(
    software: Software, model: Path, control: str, value: int, message: str
) -> None:
    getattr(software, control)(value)
    with pytest.raises(DeviceError, match=message):
        engine(model)


def test_without_residency_sets_pages_are_named_in_every_step(
    software: Software, model: Path
) -> None:
    with engine(model) as e:
        wanted = e.logits(IDS)
    software.set_residency_sets(0)
    with engine(model) as e:
        software.clear_log()
        np.testing.assert_array_equal(e.logits(IDS), wanted)
        lines = software.log_lines()
        assert count(lines, "use") == count(lines, "encoder") == 1


@pytest.mark.parametrize("stamps", [1, 0])
def test_every_op_can_be_timed(software: Software, model: Path, stamps: int) -> None:
    """By the GPU's stamps, or where it leaves none by the times of command buffers; the times of
    all ops add up to less than the call took, which a wrong unit would not."""
    from test_step import step

    software.set_stamps(stamps)
    with engine(model) as e:
        e.generate(IDS, max_tokens=1)
        started = perf_counter()
        seconds = e._program.profile(e.cache.pool, step(1))
        assert 0 < seconds.sum() < perf_counter() - started
        assert seconds.shape == (len(e._program.program.ops),)
        assert (seconds > 0).all()


def test_a_capture_holds_the_first_steps(
    software: Software, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "steps.gputrace"
    monkeypatch.setenv("SMELT_METAL_CAPTURE", str(path))
    with engine(model) as e:
        e.generate(IDS, max_tokens=2, **NO_EOG)
        assert path.exists()
    software.set_capture(0)
    with engine(model) as e, pytest.raises(DeviceError, match="MTL_CAPTURE_ENABLED"):
        e.generate(IDS, max_tokens=1)


def test_a_pool_is_not_taken_for_an_earlier_one(software: Software, model: Path) -> None:
    """They may lie at the same address, have grown as often, and differ in the size of a page."""
    from test_step import step

    loaded = metal.Device().load(Model(model).program(64, 4))
    for kv_type in ("f32", "f16", "f32", "f16"):
        pool = loaded._device.create_pool(Model(model).config, kv_type)
        pool.grow(1)
        first = loaded.run(pool, step(1))
        fresh = loaded._device.load(loaded.program).run(pool, step(1))
        np.testing.assert_array_equal(first, fresh)
        del pool


def test_memory_goes_after_the_command_buffers_that_refer_to_it(
    software: Software, model: Path
) -> None:
    """A decode step leaves an encoded command buffer behind, without references of its own."""
    from test_step import step

    loaded = metal.Device().load(Model(model).program(64, 4))
    pool = loaded._device.create_pool(Model(model).config, "f32")
    pool.grow(1)
    loaded.run(pool, step(1))
    native = loaded._native
    del loaded, pool
    gc.collect()
    del native


@pytest.mark.parametrize("k", [385, 1025])
def test_more_logits_than_there_are_or_than_the_kernel_sorts_are_refused(
    software: Software, model: Path, k: int
) -> None:
    from test_step import step

    device = metal.Device()
    pool = device.create_pool(Model(model).config, "f32")
    pool.grow(1)
    loaded = device.load(Model(model).program(64, 4))
    assert (loaded.n_vocab, device.most_top) == (384, 1024)
    with pytest.raises(DeviceError, match="more tokens or logits"):
        loaded.run_top(pool, step(1), k)


def test_heads_that_the_kernels_cannot_hold_are_refused(software: Software, tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf", "f32", n_heads=1, n_kv_heads=1, head_dim=264)
    with pytest.raises(DeviceError, match="heads of 264 dimensions"):
        engine(path)


FORKED = """
import os, sys
from smelt import DeviceError, Engine

engine = Engine(sys.argv[1], device="metal")
stream = engine.stream([1, 5, 9], 30)
next(stream)
child = os.fork()
if child == 0:
    told = 0
    for use in (lambda: engine.generate([1, 5], 3), lambda: engine.generate([1] * 90, 90),
                lambda: Engine(sys.argv[1], device="metal")):
        try:
            use()
        except DeviceError as error:
            told += "fork" in str(error)
    del stream
    engine.close()
    del engine
    os._exit(told)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
next(stream)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told_to_spawn(model: Path) -> None:
    Software()
    assert in_a_process(FORKED, model) == "3\n"
