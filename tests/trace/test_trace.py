"""Engine.trace: the names, the numbers and the files, beside what the devices make."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import smelt.trace.program
from metal_device import need_metal_device
from small_engine import SMALL, prompt_ids
from smelt import ContextOverflowError, Engine, SmeltError
from smelt.errors import CancelledError
from smelt.trace import load_run
from tiny_model import write_tiny_llama

LAYER = [
    *("attn_norm", "q", "k", "v", "q_rope", "k_rope", "k_cache", "v_cache"),
    *(
        "kq",
        "kq_softmax",
        "kqv",
        "attn_out",
        "ffn_inp",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_silu",
        "ffn_swiglu",
        "ffn_out",
        "out",
    ),
]
FUSED_LAYER = [
    *("q", "k", "v", "q_rope", "k_cache", "v_cache", "kqv", "ffn_inp", "ffn_swiglu", "out")
]
N = 45  # more than a page, no multiple of anything


def names_of(layer: list[str], *last: str, engine: Engine) -> list[str]:
    """Of all values; the pages of the cache cannot be read on a GPU."""
    readable = not engine.device.startswith("metal")
    layer = [name for name in layer if readable or not name.endswith("_cache")]
    inner = [f"blk.{i}.{name}" for i in range(2) for name in layer]
    return ["rope_table", "embed", *inner, *last]


@pytest.fixture(scope="module", params=["cpu", "reference", "metal"])
def device_engine(request: pytest.FixtureRequest, path: Path) -> Iterator[Engine]:
    if request.param == "metal":
        need_metal_device()
    with Engine(path, device=request.param, threads=2) as engine:
        yield engine


def test_every_op_by_name(device_engine: Engine) -> None:
    ids = prompt_ids(N)
    run = device_engine.trace(ids)
    assert run.names == names_of(LAYER, "select", "norm", "logits", engine=device_engine)
    assert run.n_tokens == N and run.info.token_ids == ids and run.info.device
    for value in run.values:
        x = run[value.name]
        assert x.shape == (N, *value.shape) and x.dtype.name == value.dtype
        assert run.statistics[value.name].count == x.size
    c = device_engine.config
    assert run.by_name["blk.1.kq"].shape == (c.n_heads, N)
    assert run.by_name["blk.1.kq"].layer == 1 and run.by_name["blk.1.kq"].op == "attention_scores"
    # what an op reads from the pages of the cache is an input too
    k, v = (f"blk.1.{x}_cache" for x in "kv")
    if k not in run:
        k, v = "blk.1.k_rope", "blk.1.v"
    assert run.by_name["blk.1.kq"].inputs == ("blk.1.q_rope", k)
    assert run.by_name["blk.1.kqv"].inputs == ("blk.1.kq_softmax", v)
    np.testing.assert_allclose(run["blk.0.kq_softmax"].sum(axis=-1), 1.0, rtol=1e-5)
    # causal: nothing past the token itself
    past = np.tril(np.ones((N, N), bool))[:, None]
    assert not (run["blk.1.kq_softmax"] * ~past).any()


def test_the_fused_program(device_engine: Engine) -> None:
    ids = prompt_ids(N)
    run = device_engine.trace(ids, fused=True)
    assert run.names == names_of(FUSED_LAYER, "logits", engine=device_engine)
    assert run.by_name["blk.0.kqv"].op == "attention"
    assert run.by_name["blk.0.kqv"].parts == ("attention_scores", "softmax", "attention_mix")
    pages = {"blk.0.k_cache", "blk.0.v_cache"} & {*run.names}
    written = pages or {"blk.0.k", "blk.0.v", "rope_table"}
    assert set(run.by_name["blk.0.kqv"].inputs) == {"blk.0.q_rope", *written}
    wanted = device_engine.logits(ids)
    np.testing.assert_allclose(run["logits"], wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("head_dim", [16, 20])
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
@pytest.mark.parametrize("fused", [False, True])
def test_what_is_in_the_pages(tmp_path: Path, fused: bool, kv_type: str, head_dim: int) -> None:
    """Turned keys and values, rounded as the cache is."""
    path = write_tiny_llama(
        tmp_path / "model.gguf", **SMALL | {"head_dim": head_dim, "format": "f32"}
    )
    with Engine(path, device="cpu", kv_type=kv_type, threads=1) as engine:
        run, plain = engine.trace(prompt_ids(N), fused=fused), engine.trace(prompt_ids(N))
    for name, value in (("k_cache", "k_rope"), ("v_cache", "v")):
        x = plain[f"blk.0.{value}"]
        wanted = x.astype(np.float16).astype(np.float32) if kv_type == "f16" else x
        assert (run[f"blk.0.{name}"] == wanted).all()
        traced = run.by_name[f"blk.0.{name}"]
        assert traced.op == ("rope_kv_write" if fused else "kv_write")
        assert traced.inputs[0] == f"blk.0.{value if not fused else name[0]}"


@pytest.mark.parametrize("fused", [False, True])
def test_chunks_change_nothing(
    fused: bool, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prompt_ids(N)
    whole = engine.trace(ids, fused=fused)
    per_token = 4 * sum(np.prod(value.shape) for value in whole.values)
    monkeypatch.setattr(engine, "traced", None)
    monkeypatch.setattr(smelt.trace.program, "ARENA_BYTES", int(7.5 * per_token))
    progress: list[tuple[int, int]] = []
    file = tmp_path / "run.npz"
    with engine.trace(ids, fused=fused, path=file, progress=lambda *p: progress.append(p)) as run:
        assert progress[-1] == (N, N) and len(progress) >= 5
        assert run.names == whole.names
        for name in run.names:
            assert (run[name] == whole[name]).all(), name
            assert [first for first, _ in run.blocks(name)] == [0, *(at for at, _ in progress[:-1])]
        for name, s in whole.statistics.items():
            assert run.statistics[name].rms == pytest.approx(s.rms, rel=1e-5)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_is_read_lazily_and_by_numpy(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    kept = engine.trace("the time", path=file)
    with load_run(file) as run, np.load(file) as plain:
        assert run.info == kept.info and run.values == kept.values
        assert run.statistics == kept.statistics
        assert (run["blk.0.q"] == plain["blk.0.q"]).all()
        assert run.info.token_texts[0] == "<s>" and run.info.token_texts[1] == " the"
        assert run.path == file


def test_a_pattern_keeps_only_what_it_names(engine: Engine, tmp_path: Path) -> None:
    ids = prompt_ids(N)
    whole = engine.trace(ids)
    run = engine.trace(ids, pattern="blk.*.kq*")
    wanted = [f"blk.{i}.{name}" for i in range(2) for name in ("kq", "kq_softmax", "kqv")]
    assert run.names == wanted and list(run.statistics) == wanted
    assert len(run.values) == len(whole.values)  # the program is there as a whole
    assert run.info.logit_rows == [N - 1]  # no more logits are made than are looked at
    for name in wanted:
        assert (run[name] == whole[name]).all(), name
    several = engine.trace(ids, pattern=["embed", "norm"], last_logits=True)
    assert several.names == ["embed", "norm"]
    assert (several["norm"] == whole["norm"][-1:]).all()
    with pytest.raises(SmeltError, match="not traced"):
        several["logits"]
    with pytest.raises(SmeltError, match="no such value"):
        several["blk.9.out"]


def test_statistics_alone(engine: Engine, tmp_path: Path) -> None:
    ids = prompt_ids(N)
    whole = engine.trace(ids, fused=True)
    run = engine.trace(ids, stats=True)
    assert run.names == [] and run.statistics == whole.statistics and run.info.fused
    with engine.trace(ids, stats=True, path=tmp_path / "s.npz") as stored:
        assert stored.statistics == whole.statistics
    assert zipfile.ZipFile(tmp_path / "s.npz").namelist() == ["run.json"]


def test_tracing_leaves_the_engine_alone(path: Path) -> None:
    with Engine(path) as engine:
        before = engine._program
        expected = engine.generate("the", 5).text
        engine.trace(prompt_ids(N))
        pages = engine.cache.n_pages
        engine.trace(prompt_ids(N))
        assert engine._program is before and engine.cache.n_pages == pages
        assert engine.generate("the", 5).text == expected


def test_a_trace_that_fails_gives_its_pages_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            engine.trace(prompt_ids(N), path=tmp_path / "missing" / "run.npz")
        monkeypatch.setattr(Engine, "prepare_step", _raise)
        with pytest.raises(SmeltError, match="on purpose"):
            engine.trace(prompt_ids(N))
        monkeypatch.undo()
    assert not engine.cache._active


def _raise(*_: object) -> None:
    raise SmeltError("on purpose")


def test_refusals(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(SmeltError, match=r"matches nothing: .* called rope_table, embed, blk\.0"):
        engine.trace("the", pattern="nothing")
    with pytest.raises(ContextOverflowError):
        engine.trace(prompt_ids(engine.n_ctx + 1))
    with pytest.raises(SmeltError, match="empty"):
        engine.trace([])
    (tmp_path / "other.npz").write_bytes(b"no zip")
    with pytest.raises(SmeltError, match=r"other\.npz: expected a \.npz file"):
        load_run(tmp_path / "other.npz")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(SmeltError, match="expected a run file of smelt"):
        load_run(tmp_path / "arrays.npz")
    with pytest.raises(FileNotFoundError):
        load_run(tmp_path / "missing.npz")


def test_a_cancelled_trace_leaves_no_file(engine: Engine, tmp_path: Path) -> None:
    def cancel(done: int, total: int) -> None:
        engine.cancel()

    small = engine.chunk_tokens
    engine.chunk_tokens = 8
    try:
        with pytest.raises(CancelledError):
            engine.trace(prompt_ids(N), path=tmp_path / "run.npz", progress=cancel)
    finally:
        engine.chunk_tokens = small
    assert list(tmp_path.iterdir()) == []
