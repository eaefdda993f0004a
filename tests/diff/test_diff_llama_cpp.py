"""Dumps under llama.cpp's names: the names, the layouts and the prompts, on a dump made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from small_engine import prompt_ids
from smelt import Engine, SmeltError
from smelt.diff import compare
from smelt.diff.llama_cpp import NORMS_OF_HEADS, DumpFile, DumpRun, value_of
from smelt.trace import Run

IDS = prompt_ids(7)
N = len(IDS)
NODES = ["node_98", "node_99"]
AXIS = 32  # that of the scores, padded


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("embd", "embed"),
        ("norm-0", "blk.0.attn_norm"),
        ("norm-11#2", "blk.11.ffn_norm"),
        ("norm-11#3", None),
        ("Kcur_normed-2", "blk.2.k_norm"),
        ("norm", "norm"),
        ("Qcur-3", "blk.3.q"),
        ("Kcur-3#3", "blk.3.k_rope"),
        ("kq_soft_max-0", "blk.0.kq_softmax"),
        ("node_98", "blk.11.attn_out"),
        ("node_99", "blk.10.out"),
        ("l_out-11", "blk.11.out"),
        ("result_output", "logits"),
        ("Qcur-3#4", None),
        ("mystery-1", None),
        ("node_7", None),
    ],
)
def test_names(tensor: str, value: str | None) -> None:
    assert value_of(tensor, 12, NODES) == value


def test_norms_of_heads_come_between_the_others() -> None:
    names = [value_of(f"norm-1{n}", 12, NODES, NORMS_OF_HEADS) for n in ("", "#2", "#3", "#4")]
    assert names == [f"blk.1.{name}" for name in ("attn_norm", "q_norm", "k_norm", "ffn_norm")]


def test_a_single_layer_is_given_the_embedding() -> None:
    assert value_of("node_99", 1, NODES) == "embed"
    assert value_of("node_98", 1, ["node_98"]) is None  # what it is cannot be told


def as_llama_cpp(run: Run, engine: Engine) -> dict[str, np.ndarray]:
    """A run's values as llama.cpp would name and lay them out."""
    weights = engine.model.weights

    def gain(name: str) -> np.ndarray:
        return weights[f"{name}.weight"].data.view("<f4")

    last = engine.config.n_layers - 1
    tensors = {"embd": run["embed"], "norm": run["norm"] / gain("output_norm")}
    for layer in range(last + 1):
        x = {name[6:]: run[name] for name in run.names if name.startswith(f"blk.{layer}.")}
        scores = np.full((x["kq"].shape[1], N, AXIS), 7.5, np.float32)  # rubbish in the future
        past = np.tril(np.ones((N, N), bool))
        scores[..., :N] = np.where(past, x["kq"].transpose(1, 0, 2), 7.5)
        weights_of = np.zeros_like(scores)
        weights_of[..., :N] = x["kq_softmax"].transpose(1, 0, 2)
        tensors |= {
            f"norm-{layer}": x["attn_norm"] / gain(f"blk.{layer}.attn_norm"),
            f"Qcur-{layer}": x["q"].reshape(N, -1),
            f"Qcur-{layer}#3": x["q_rope"],
            f"Kcur-{layer}#3": x["k_rope"],
            f"Vcur-{layer}#2": x["v"],
            f"kq-{layer}": scores,
            f"kq_soft_max-{layer}": weights_of,
            f"kqv-{layer}": x["kqv"].transpose(1, 0, 2),
            f"kqv_out-{layer}": x["kqv"].reshape(N, -1),
            f"ffn_swiglu-{layer}": x["ffn_swiglu"],
            f"l_out-{layer}": x["out"],
        }
    tensors |= {"node_40": run[f"blk.{last}.attn_out"], "node_9": run[f"blk.{last - 1}.out"]}
    # in the order of their numbers, the attention's output comes first
    return tensors | {"node_9": tensors["node_40"], "node_40": tensors["node_9"]}


@pytest.fixture(scope="module")
def run(engine: Engine) -> Run:
    return engine.trace(IDS)


@pytest.fixture(scope="module")
def dump(run: Run, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> DumpFile:
    path = tmp_path_factory.mktemp("dump") / "other.npz"
    arrays = {f"full/trace/{k}": v for k, v in as_llama_cpp(run, engine).items()}
    arrays |= {"full/trace/mystery-1": run["embed"], "short/logits": run["logits"][-3:]}
    np.savez(path, **arrays)
    facts = {
        "short": {"prompt": "", "prompt_tokens": IDS},
        "full": {"prompt": "all", "prompt_tokens": IDS},
    }
    path.with_suffix(".json").write_text(json.dumps(facts))
    return DumpFile(path)


def test_every_tensor_in_its_place(run: Run, engine: Engine, dump: DumpFile) -> None:
    other = DumpRun(dump, "full", engine.model, N)
    diff = compare(run, other)
    assert {d.tensor for d in diff.differences} == as_llama_cpp(run, engine).keys()
    assert other.unmatched == ["mystery-1"]
    assert other.n_tensors == len(diff.differences)
    for d in diff.differences:  # those before a gain are multiplied by what they were divided by
        assert d.distance.largest <= (1e-6 if d.tensor.startswith("norm") else 0), d.tensor


def test_a_fault_is_named_beside_a_dump(run: Run, engine: Engine, dump: DumpFile) -> None:
    arrays = {name: run[name] for name in run.names}
    arrays["blk.1.k_rope"] = arrays["blk.1.k_rope"][..., ::-1]
    wrong = Run(run.info, run.values, {}, arrays)
    for diff in (
        compare(wrong, DumpRun(dump, "full", engine.model, N)),
        compare(DumpRun(dump, "full", engine.model, N), wrong),
    ):
        assert diff.first is not None
        assert (diff.first.value.name, diff.first.tensor) == ("blk.1.k_rope", "Kcur-1#3")


def test_the_last_logits_alone(run: Run, engine: Engine, dump: DumpFile) -> None:
    diff = compare(run, DumpRun(dump, "short", engine.model, N))
    (only,) = diff.differences
    assert (only.tensor, only.verdict, only.distance.largest) == ("logits", "ok", 0)
    assert only.distance.n == 3 * engine.config.n_vocab
    assert np.concatenate(only.distance.tokens).tolist() == [N - 3, N - 2, N - 1]


def test_prompts(dump: DumpFile) -> None:
    assert list(dump.tensors) == ["full", "short"]  # that with a trace first
    assert dump.choose(None) == dump.choose("full") == dump.choose("all") == "full"
    assert dump.token_ids("short") == IDS
    with pytest.raises(SmeltError, match=r"no prompt 'x'; the dump has full, short"):
        dump.choose("x")


def test_a_dump_of_one_prompt(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", embd=np.ones((2, 3)), norm=np.ones((2, 3)))
    plain = DumpFile(tmp_path / "plain.npz")
    assert plain.choose(None) == "" and plain.token_ids("") == []
    assert plain.tensors == {"": {"embd": "embd", "norm": "norm"}}


@pytest.mark.parametrize(
    "facts",
    ["{", "[]", "[" * 200_000, '{"p": {"prompt_tokens": 3}}', '{"p": {"prompt_tokens": ["a"]}}'],
)
def test_facts_that_are_none(facts: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "dump.npz", embd=np.ones((2, 3)))
    (tmp_path / "dump.json").write_text(facts)
    with pytest.raises(SmeltError, match=r"dump\.json: expected \{PROMPT: "):
        DumpFile(tmp_path / "dump.npz").choose("p")


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [("embd", (N + 1, 64)), ("Qcur-0", (N, 7)), ("kq-0", (3, 3)), ("norm-0", (N, 63))],
)
def test_tensors_of_other_shapes(
    engine: Engine, run: Run, tensor: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    np.savez(tmp_path / "dump.npz", **{tensor: np.ones(shape, np.float32)})
    dump = DumpFile(tmp_path / "dump.npz")
    with pytest.raises(SmeltError, match=rf"dump\.npz: tensor {tensor} of shape .* does not fit 7"):
        compare(run, DumpRun(dump, "", engine.model, N))


def test_a_dump_without_tensors(tmp_path: Path) -> None:
    np.savez(tmp_path / "dump.npz")
    with pytest.raises(SmeltError, match=r"dump\.npz: expected a dump of tensors, found no array"):
        DumpFile(tmp_path / "dump.npz")
