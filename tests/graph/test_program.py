"""build and tables: a Llama block's ops and barriers, and the records that native code reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smelt import _cpu
from smelt.formats import FORMATS
from smelt.graph.program import MULTIPLIES, build, tables
from smelt.model import Model
from tiny_model import write_tiny_llama

NATIVE = Path(__file__).resolve().parents[2] / "native"
LAYER = ["norm_matmul", "rope_kv_write", "attention", "matmul_add", "norm_gate_up", "matmul_add"]


@pytest.fixture(scope="module", params=["plain", "biases", "tied", "rope_freqs"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    options: dict[str, Any] = {} if request.param == "plain" else {request.param: True}
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    formats = {"attn_v": "q6_k", "ffn_down": "q8_0", "output": "f16"}
    return Model(write_tiny_llama(path, n_layers=3, formats=formats, **options))


def test_a_llama_block_is_six_ops_and_at_most_six_barriers(model: Model) -> None:
    program = model.program(256, 32)
    for layer in range(3):
        at = [i for i, op in enumerate(program.ops) if op.layer == layer]
        assert [program.ops[i].kind for i in at] == LAYER
        assert sum(program.waits[i] for i in at) <= 6
    outside = [op.kind for op in program.ops if op.layer == -1]
    assert outside == ["rope_table", "embed", "norm_matmul"]
    assert program.ops[-1].inputs[0].rows == "tokens"
    assert program.ops[-1].outputs[0].rows == "logits"


def test_unfused_is_what_was_recorded(model: Model) -> None:
    program = model.program(256, 32, fused=False)
    assert not any(op.parts for op in program.ops)
    flat = [part.kind for op in model.program(256, 32).ops for part in op.parts or (op,)]
    assert [op.kind for op in program.ops] == flat
    assert sum(op.layer == 0 for op in program.ops) == 19


def test_the_result_has_no_place(model: Model) -> None:
    for reuse in (True, False):
        program = model.program(256, 32, reuse=reuse)
        logits = program.ops[-1].outputs[0]
        assert logits.width == model.config.n_vocab and logits.rows == "logits"
        assert logits not in program.places
        assert set(program.values) - {logits} == set(program.places)


def test_reuse_saves_memory(model: Model) -> None:
    assert model.program(256, 32).arena_bytes < model.program(256, 32, reuse=False).arena_bytes / 2


def test_steps_of_fewer_logits_take_less_room(model: Model) -> None:
    assert model.program(256, 32, 1).arena_bytes <= model.program(256, 32, 32).arena_bytes


# --- the records


def fields_of_op_record() -> list[tuple[str, int, bool]]:
    """(name, count, whether it is a float) by the text of native/op_record.def."""
    text = (NATIVE / "op_record.def").read_text()
    found = re.findall(r"^(FIELD|ARRAY)\((\w+), (\w+)(?:, (\d+))?\)", text, re.MULTILINE)
    return [(name, int(count or 1), kind == "float") for _, kind, name, count in found]


def fields_of(records: np.ndarray) -> dict[str, tuple[np.dtype[Any], int]]:
    """Type and offset of every field, in order."""
    assert records.dtype.fields is not None and records.dtype.names is not None
    return {name: records.dtype.fields[name][:2] for name in records.dtype.names}


def offsets_of(records: np.ndarray) -> dict[str, int]:
    return {name: offset for name, (_, offset) in fields_of(records).items()}


def test_layout_of_op_records(model: Model) -> None:
    ops = tables(model.program(256, 4)).ops
    offset = 0
    for name, count, is_float in fields_of_op_record():
        kind, found = fields_of(ops)[name]
        assert (found, kind.base, kind.itemsize) == (
            offset,
            np.dtype("<f4" if is_float else "<i4"),
            4 * count,
        )
        offset += 4 * count
    assert ops.dtype.itemsize == offset == _cpu.record_bytes[0]
    assert list(fields_of(ops)) == [name for name, *_ in fields_of_op_record()]


def test_layout_of_values_and_weights(model: Model) -> None:
    """program.h: value_record {int64 offset; int32 width, rows}, weight_record {pointer; int64
    row_bytes; int32 format, n_out, n_in, packed}."""
    flat = tables(model.program(256, 4))
    assert offsets_of(flat.values) == {"offset": 0, "width": 8, "rows": 12}
    assert offsets_of(flat.weights) == {
        "data": 0,
        "row_bytes": 8,
        "format": 16,
        "n_out": 20,
        "n_in": 24,
        "packed": 28,
    }
    sizes = (flat.ops.dtype, flat.values.dtype, flat.weights.dtype)
    assert tuple(dtype.itemsize for dtype in sizes) == _cpu.record_bytes


def test_op_numbers_are_those_of_ops_def() -> None:
    names = re.findall(r"^OP\((\w+),", (NATIVE / "ops.def").read_text(), re.MULTILINE)
    assert _cpu.op_names() == names


@pytest.mark.parametrize("fused", [True, False])
def test_records_say_what_the_program_says(model: Model, fused: bool) -> None:
    program = model.program(256, 4, fused=fused)
    flat = tables(program)
    names = _cpu.op_names()
    assert len(flat.ops) == len(program.ops)
    for record, op, waits in zip(flat.ops, program.ops, program.waits, strict=True):
        assert names[record["op"]] == op.kind
        assert (record["layer"], record["barrier"]) == (op.layer, waits)
        multiplies = op.kind in MULTIPLIES
        used = [w and (w, multiplies) for w in op.weights]
        for name, table, wanted in (
            ("inputs", program.values, op.inputs),
            ("outputs", program.values, op.outputs),
            ("weights", flat.sources, used),
        ):
            found = [None if i < 0 else table[i] for i in record[name]]
            assert found[: len(wanted)] == list(wanted)
            assert set(found[len(wanted) :]) <= {None}
        for name, number in op.params.items():
            assert record[name] == np.float32(number)
        given = {*op.params, "op", "layer", "barrier", "inputs", "outputs", "weights"}
        assert all(not record[name] for name in fields_of(flat.ops) if name not in given)
    for record, value in zip(flat.values, program.values, strict=True):
        spot = program.places.get(value)
        assert record["offset"] == (_cpu.value_is_logits if spot is None else spot.offset)
        assert record["width"] == value.width
        rows = {"tokens": _cpu.rows_tokens, "logits": _cpu.rows_logits}
        assert record["rows"] == rows[value.rows]


def test_weight_records_point_into_the_file(model: Model) -> None:
    flat = tables(model.program(256, 4))
    for record, (weight, _) in zip(flat.weights, flat.sources, strict=True):
        assert record["packed"] == 0  # until a device packs it
        assert record["data"] == weight.data.ctypes.data
        assert record["n_in"] == weight.shape[-1]
        assert record["n_out"] == (weight.shape[0] if len(weight.shape) == 2 else 1)
        assert record["n_out"] * record["row_bytes"] == weight.data.nbytes
        if weight.format == "f64":
            assert record["format"] == _cpu.format_f64 and weight.data.dtype == np.float64
        else:
            assert record["format"] == FORMATS[weight.format].index
            assert record["row_bytes"] == FORMATS[weight.format].row_bytes(weight.n_in)
            tensor = model.file.tensors[weight.name]
            assert record["data"] == tensor.data.ctypes.data


def test_a_table_that_is_also_the_output_has_two_records(model: Model) -> None:
    """What is multiplied with may be packed, what is looked up in may not."""
    flat = tables(model.program(256, 4))
    assert len(set(flat.sources)) == len(flat.sources)
    multiplied = {weight.name for weight, multiplies in flat.sources if multiplies}
    read = {weight.name for weight, multiplies in flat.sources if not multiplies}
    assert multiplied & read == ({"token_embd.weight"} if model.config.tied else set())


def test_every_weight_of_the_file_is_used_once(model: Model) -> None:
    program = model.program(256, 4)
    names = [weight.name for weight in program.weights]
    assert len(names) == len(set(names))
    expected = set(model.file.tensors) - {"rope_freqs.weight"} | {"inv_freq"}
    assert set(names) == expected


def test_one_op_is_a_program() -> None:
    from sketch import Sketch

    program = build(Sketch().ops, 5, 5)
    assert (program.arena_bytes, program.waits) == (0, (False,))
    assert tables(program).values["offset"].tolist() == [_cpu.value_is_logits]
