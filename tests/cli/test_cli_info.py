"""`smelt info`: what is shown of sound, strange and unsupported files, and how it looks."""

import json

import pytest

import gguf_bytes as raw
from smelt.gguf_file import GGUFFile
from tiny_model import write_tiny_llama


def report_of(smelt, path, *options):
    code, out, err = smelt("info", path, "--json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def write(path, pairs=(), tensors=(), data=b""):
    path.write_bytes(raw.gguf(pairs, tensors, data))
    return path


def test_json_of_a_model(smelt, model):
    report = report_of(smelt, model, "--tensors")
    assert report["files"] == [str(model)]
    assert report["file_bytes"] == model.stat().st_size
    assert report["gguf_version"] == 3
    assert report["problems"] == []
    metadata = report["metadata"]
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert metadata["tokenizer.ggml.tokens"] == {
        "length": 384,
        "first": ["<unk>", "<s>", "</s>", "<0x00>", "<0x01>", "<0x02>", "<0x03>", "<0x04>"],
    }
    config = report["config"]
    assert (config["d_model"], config["d_ff"], config["n_layers"]) == (256, 512, 2)
    assert (config["n_kv_heads"], config["kv_dim"]) == (2, 128)
    with GGUFFile(model) as file:
        tensors = list(file.tensors.values())
    assert [t["name"] for t in report["tensors"]] == [t.name for t in tensors]
    assert report["tensors"][0]["shape"] == list(tensors[0].shape)
    assert report["total"]["tensors"] == len(tensors)
    assert report["total"]["bytes"] == sum(t.nbytes for t in tensors)
    formats = {entry["format"]: entry for entry in report["formats"]}
    assert formats.keys() == {"q4_k", "f32"}
    assert formats["q4_k"]["bits_per_weight"] == 4.5
    assert sum(entry["weights"] for entry in formats.values()) == report["total"]["weights"]


def test_tables_of_a_model(smelt, model):
    code, out, err = smelt("info", model)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(model)
    assert all(line == line.rstrip() for line in lines)
    assert all(line.isprintable() for line in lines)
    cells = [line.split() for line in lines]
    assert ["general.architecture", "llama"] in cells
    assert ["n_layers", "2"] in cells
    assert ["kv_dim", "128"] in cells
    assert ["rope_scaling", "none"] in cells
    assert any(row[:1] == ["q4_k"] and row[-1] == "4.50" for row in cells)
    assert any(row[:1] == ["total"] for row in cells)
    assert "blk.0.attn_q.weight" not in out
    assert "smelt cannot run this file" not in out


def test_every_tensor_is_listed_on_demand(smelt, model):
    _, out, _ = smelt("info", model, "--tensors")
    row = next(line for line in out.splitlines() if line.endswith("blk.1.attn_k.weight"))
    assert row.split() == ["q4_k", "18.00", "KiB", "128", "×", "256", "blk.1.attn_k.weight"]


def test_rope_scaling_is_spelled_out(smelt, tmp_path):
    path = write_tiny_llama(tmp_path / "m.gguf", rope_scaling="linear")
    _, out, _ = smelt("info", path)
    row = next(line for line in out.splitlines() if line.split()[:1] == ["rope_scaling"])
    assert "type linear, factor 4.0" in row


def test_a_vocabulary_alone(smelt, vocabulary):
    report = report_of(smelt, vocabulary)
    assert report["config"] is None
    assert report["formats"] == []
    assert report["total"]["bits_per_weight"] is None
    assert report["problems"] == ["the file holds a vocabulary and no weights"]
    _, out, _ = smelt("info", vocabulary)
    assert out.endswith(
        "smelt cannot run this file\n  the file holds a vocabulary and no weights\n"
    )


def test_an_unknown_architecture_and_no_configuration(smelt, tmp_path):
    path = write(
        tmp_path / "m.gguf",
        [raw.pair("general.architecture", raw.STRING, raw.string("mamba"))],
        [raw.tensor("ssm.weight", [32], 0, 0)],
        bytes(128),
    )
    report = report_of(smelt, path)
    assert report["config"] is None
    assert "'mamba' is not supported" in report["problems"][0]
    assert "token_embd.weight is missing" in report["problems"][1]
    assert report["total"] == {"tensors": 1, "weights": 32, "bytes": 128, "bits_per_weight": 32.0}


def test_formats_that_smelt_cannot_compute_with(smelt, tmp_path):
    path = write(
        tmp_path / "m.gguf",
        [],
        [raw.tensor("known.size", [256], 16, 0), raw.tensor("unknown", [32], 199, 96)],
        bytes(256),
    )
    report = report_of(smelt, path, "--tensors")
    assert report["problems"][-1] == (
        "tensor formats that smelt cannot compute with: iq2_xxs, type 199"
    )
    assert [entry["bits_per_weight"] for entry in report["formats"]] == [2.0625, None]
    assert report["total"]["bits_per_weight"] == 2.0625
    code, out, _ = smelt("info", path, "--tensors")
    assert code == 0
    assert any(line.split()[:3] == ["type", "199", "1"] for line in out.splitlines())


def test_strange_values_are_shown_safely(smelt, tmp_path):
    pairs = [
        raw.pair("text", raw.STRING, raw.string("[bold]a\x1b[2J\nb\u202e")),
        raw.pair("long", raw.STRING, raw.string("x" * 5000)),
        raw.pair("nan", raw.FLOAT32, raw.numbers(raw.FLOAT32, float("nan"))),
        raw.pair("infinite", raw.FLOAT64, raw.numbers(raw.FLOAT64, float("-inf"))),
        raw.pair("yes", raw.BOOL, raw.numbers(raw.BOOL, True)),
        raw.pair("large", raw.UINT64, raw.numbers(raw.UINT64, 2**64 - 1)),
        raw.pair("nested", raw.ARRAY, raw.nested(3)),
        raw.pair("empty", raw.ARRAY, raw.array(raw.STRING, [])),
        raw.pair("words", raw.ARRAY, raw.array(raw.STRING, [raw.string("a\n")] * 9)),
        raw.pair("floats", raw.ARRAY, raw.array(raw.FLOAT32, [raw.numbers(raw.FLOAT32, 0.1)] * 2)),
    ]
    path = write(tmp_path / "m.gguf", pairs)
    metadata = report_of(smelt, path)["metadata"]
    assert metadata["text"] == "[bold]a\x1b[2J\nb\u202e"
    assert (metadata["nan"], metadata["infinite"]) == ("nan", "-inf")
    assert (metadata["yes"], metadata["large"]) == (True, 2**64 - 1)
    assert metadata["nested"] == [[[7]]]
    assert metadata["empty"] == []
    assert metadata["words"] == {"length": 9, "first": ["a\n"] * 8}
    assert metadata["floats"] == [0.1, 0.1]
    _, out, _ = smelt("info", path)
    assert all(line.isprintable() for line in out.splitlines())
    assert r"[bold]a\x1b[2J\nb\u202e" in out
    assert "x" * 100 in out
    assert "x" * 200 not in out


@pytest.mark.parametrize("columns", [80, 40])
def test_a_terminal_gets_lines_that_fit(spawn, terminal, model, columns):
    process = spawn("info", model, "--tensors", stdout=terminal.inside(columns))
    lines = [strip_styles(line) for line in terminal.read().split("\r\n")]
    assert process.wait() == 0
    assert max(map(len, lines)) <= columns
    assert any("…" in line for line in lines)


def strip_styles(line):
    """A line without the escape sequences that make it bold."""
    pieces = line.split("\x1b[")
    return pieces[0] + "".join(piece.partition("m")[2] for piece in pieces[1:])
