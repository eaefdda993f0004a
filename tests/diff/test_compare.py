"""Comparing runs: right ones agree on every pair of devices, formats and programs; and what the
comparison says of runs that were made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smelt.trace.program
from metal_device import need_metal_device
from small_engine import prompt_ids
from smelt import Engine, SmeltError
from smelt.diff import compare
from smelt.diff.replay import Replay, check, formats_differ
from smelt.trace import Run, load_run
from tiny_model import write_tiny_llama

IDS = prompt_ids(37)
Tracer = Callable[..., Run]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Tracer:
    """A run of a small model in a format, on a device."""
    folder = tmp_path_factory.mktemp("models")
    known: dict[object, Run] = {}

    def run(fmt: str, device: str, kv_type: str = "f16", fused: bool = False) -> Run:
        key = (fmt, device, kv_type, fused)
        if key not in known:
            path = folder / f"{fmt}.gguf"
            if not path.exists():
                write_tiny_llama(path, fmt, n_heads=8, n_kv_heads=2, biases=fmt == "f16")
            with Engine(path, device=device, kv_type=kv_type, threads=2) as engine:
                known[key] = engine.trace(IDS, fused=fused)
        return known[key]

    return run


@pytest.mark.parametrize("fmt", ["f16", "q8_0", "q4_k", "iq4_xs"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("cpu",), ("reference",)),
        (("cpu", "f32", True), ("reference",)),
        (("cpu", "f16", True), ("cpu", "f32", False)),
        (("cpu", "f16", True), ("cpu", "f16", False)),
    ],
)
def test_right_runs_agree(traced: Tracer, fmt: str, a: tuple[object], b: tuple[object]) -> None:
    diff = compare(traced(fmt, *a), traced(fmt, *b))
    assert diff.first is None, diff.first
    check(diff)
    assert diff.first is None, diff.first
    assert not formats_differ(diff) and not diff.bad


@pytest.mark.parametrize("fused", [False, True])
def test_right_runs_agree_on_metal(traced: Tracer, fused: bool) -> None:
    need_metal_device()
    diff = compare(traced("q4_k", "metal", "f16", fused), traced("q4_k", "cpu", "f16", False))
    assert diff.first is None, diff.first
    check(diff)
    assert diff.first is None, diff.first


def test_a_run_and_itself(traced: Tracer) -> None:
    run = traced("f32", "cpu")
    diff = compare(run, run)
    assert [d.value.name for d in diff.differences] == run.names
    assert all(d.error == 0 for d in diff.differences)
    assert [d.distance.cosine for d in diff.differences] == pytest.approx([1.0] * len(run.names))
    assert diff.differences[-1].inputs == {"norm": 0.0}


def test_blocks_and_files(traced: Tracer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was streamed in chunks, beside one in memory."""
    whole = traced("q8_0", "cpu")
    monkeypatch.setattr(smelt.trace.program, "ARENA_BYTES", 300_000)
    with Engine(whole.info.model, device="cpu", threads=2) as engine:
        engine.trace(IDS, path=tmp_path / "run.npz").close()
    with load_run(tmp_path / "run.npz") as run:
        assert len(list(run.blocks("blk.0.q"))) > 2
        diff = compare(run, whole)
    assert all(d.distance.largest == 0 for d in diff.differences)


def changed(run: Run, name: str, change: Callable[[np.ndarray], None]) -> Run:
    """A copy of a run with other numbers in one value."""
    arrays = {other: run[other] for other in run.names}
    arrays[name] = arrays[name].copy()
    change(arrays[name])
    return Run(run.info, run.values, {}, arrays)


def test_one_element_of_one_token(traced: Tracer) -> None:
    def spoil(x: np.ndarray) -> None:
        x[17, 3, 5] += 10

    right = traced("q4_k", "cpu")
    diff = compare(changed(right, "blk.1.q_rope", spoil), right)
    (first,) = diff.wrong
    assert (first.value.name, first.token) == ("blk.1.q_rope", 17)
    assert (first.distance.token, first.distance.element) == (17, (3, 5))
    assert first.distance.largest == pytest.approx(10, rel=1e-5)
    assert first.inputs == {"blk.1.q": 0.0, "rope_table": 0.0}
    later = {d.value.name: d.verdict for d in diff.differences}
    assert later["blk.1.k_rope"] == "ok" and later["blk.1.kq"] == "follows"
    assert compare(changed(right, "blk.1.q_rope", spoil), right, scale=1e9).first is None


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(traced: Tracer, number: float) -> None:
    def spoil(x: np.ndarray) -> None:
        x[20, 2] = number

    right = traced("q4_k", "cpu")
    wrong = changed(right, "blk.0.ffn_up", spoil)
    for a, b, side in ((wrong, right, "a"), (right, wrong, "b")):
        diff = compare(a, b)
        assert diff.first is not None and diff.first.value.name == "blk.0.ffn_up"
        ((difference, bad),) = diff.bad
        assert difference is diff.first
        assert (bad.side, bad.token, bad.element) == (side, 20, (2,))
    both = compare(wrong, wrong)
    assert both.first is None and len(both.bad) == 2  # said, but they do not part there


def test_numbers_whose_squares_overflow(traced: Tracer) -> None:
    """A quotient of infinities is over every tolerance, whichever side it comes from."""
    right = traced("q8_0", "cpu")
    arrays = {name: right[name].astype(np.float64) for name in right.names}
    arrays["blk.0.q"][:] = 1e200
    wrong = Run(right.info, right.values, {}, arrays)
    for sides in ((right, wrong), (wrong, right)):
        diff = compare(*sides)
        assert diff.first is not None and diff.first.value.name == "blk.0.q"


def test_scores_near_zero(traced: Tracer) -> None:
    """Queries at right angles to their keys: what is left of the scores is the keys' errors."""
    run = traced("f16", "cpu")  # keys may differ by what f16 pages round
    q, k = run["blk.0.q_rope"].copy(), run["blk.0.k_cache"].copy()
    n, n_heads, width = q.shape
    q[..., width // 2 :] = 0
    k[..., : width // 2] = 1e-2 * k[..., width // 2 :]  # all that scores are made of
    noise = np.random.default_rng(1).standard_normal(k.shape).astype(np.float32)
    rounded = k + 1e-4 * np.abs(k).max() * noise

    def scored(keys: np.ndarray) -> Run:
        heads = np.repeat(keys, n_heads // keys.shape[1], axis=1)
        kq = np.einsum("qhi,khi->qhk", q, heads) * np.tri(n)[:, None]
        arrays = {"blk.0.q_rope": q, "blk.0.k_cache": keys, "blk.0.kq": kq.astype(np.float32)}
        return Run(run.info, run.values, {}, arrays)

    def scores(a: Run, b: Run) -> str:
        return next(d.verdict for d in compare(a, b).differences if d.value.name == "blk.0.kq")

    assert scores(scored(rounded), scored(k)) == "ok"
    wrong = scored(rounded)
    wrong["blk.0.kq"][:, 0] = wrong["blk.0.kq"][:, 1]
    assert scores(wrong, scored(k)) == "wrong"


def test_two_formats(traced: Tracer) -> None:
    a, b = traced("q8_0", "cpu"), traced("q4_0", "cpu")
    diff = compare(a, b)  # two random models: they have nothing but their shape in common
    assert diff.first is not None and diff.first.value.name == "embed"
    assert formats_differ(diff)


def test_parts_of_a_run(traced: Tracer) -> None:
    """Values far from each other are compared with those before them that are there."""
    run = traced("q4_k", "cpu", "f16", True)
    with Engine(run.info.model, device="reference") as engine:
        some = engine.trace(IDS, pattern=["blk.*.out", "logits"], last_logits=True)
    diff = compare(run, some)
    assert [d.value.name for d in diff.differences] == ["blk.0.out", "blk.1.out", "logits"]
    assert diff.first is None
    assert [list(d.inputs) for d in diff.differences] == [[], ["blk.0.out"], ["blk.1.out"]]
    assert diff.differences[-1].distance.token == len(IDS) - 1

    def spoil(x: np.ndarray) -> None:
        x[-1] = -x[-1]

    wrong = compare(changed(some, "blk.1.out", spoil), run).first
    assert wrong is not None and wrong.value.name == "blk.1.out"


def test_a_replay_of_what_it_cannot_judge(traced: Tracer) -> None:
    run = traced("q4_k", "cpu")
    replay = Replay(run)
    error = replay.own_error("blk.0.q")
    assert error is not None and 0 < error[0] < error[1] < 0.05
    assert replay.own_error("nothing") is None
    some = Run(run.info, run.values, {}, {"blk.0.q": run["blk.0.q"]})
    assert Replay(some).own_error("blk.0.q") is None  # its input was not traced
    lost = replace(run.info, model="/nowhere.gguf")
    assert Replay(Run(lost, run.values, {}, {})).own_error("blk.0.q") is None


@pytest.mark.parametrize(
    "said",
    [
        {"op": "attention"},
        {"op": "rms_norm"},
        {"params": {}},
        {"inputs": ("logits",)},
        {"layer": 10**20},
        {"inputs": ()},
    ],
)
def test_a_replay_of_what_no_op_can_do(traced: Tracer, said: dict[str, object]) -> None:
    """It says nothing of an op that is recorded as nonsense, and of the others what it does."""
    run = traced("q8_0", "cpu")
    names = ["blk.0.q_rope", "blk.0.kq", "blk.0.k_cache"]
    values = [replace(v, **said) if v.name in names else v for v in run.values]
    replay = Replay(Run(run.info, values, {}, {name: run[name] for name in run.names}))
    for name in names:
        found = replay.own_error(name)
        assert found is None or found[1] > 0
    assert replay.own_error("blk.0.v") is not None


@pytest.fixture
def other(path: Path) -> Iterator[Run]:
    with Engine(path, device="cpu", threads=1) as engine:
        yield engine.trace(IDS)


def test_refusals(traced: Tracer, other: Run, path: Path) -> None:
    run = traced("q4_k", "cpu")
    with pytest.raises(SmeltError, match="models of different dimensions cannot be compared"):
        compare(run, other)
    with Engine(path, device="cpu", threads=1) as engine:
        with pytest.raises(SmeltError, match=r"of different prompts: 37 tokens .* and 3 tokens"):
            compare(other, engine.trace(IDS[:3]))
        with pytest.raises(SmeltError, match="no value in common"):
            compare(engine.trace(IDS, pattern="blk.0.q"), engine.trace(IDS, pattern="logits"))
