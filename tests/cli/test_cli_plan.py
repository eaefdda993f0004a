"""`smelt plan`: what smelt.plan makes of a model."""

import json

import pytest

from smelt.plan import plan
from tiny_model import write_tiny_llama


def test_text_and_json_are_the_plan_s(smelt, model):
    made = plan(model)
    assert smelt("plan", model) == (0, made.text() + "\n", "")
    code, out, err = smelt("plan", model, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == made.as_dict()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--unfused"], {"fused": False}),
        (["--n-ctx", "77"], {"n_ctx": 77}),
        (["--device", "reference"], {"device": "reference"}),
    ],
)
def test_options_reach_the_plan(smelt, model, arguments, options):
    _, out, _ = smelt("plan", model, "--json", *arguments)
    assert json.loads(out) == plan(model, **options).as_dict()


@pytest.mark.parametrize("device", ["cpu", "metal", "reference"])
def test_a_model_with_the_layers_of_tinyllama(smelt, tmp_path, device):
    """22 layers of six ops, and around them rope_table, embed and norm_matmul, which itself chooses
    the rows whose logits are wanted: 22 * 6 + 3. Its own widths would make a file of 640 MB, and
    change none of these numbers."""
    small = {"format": "q8_0", "d_model": 64, "d_ff": 96, "n_heads": 32, "n_kv_heads": 4}
    path = write_tiny_llama(tmp_path / "deep.gguf", n_layers=22, **small, head_dim=2)
    _, out, _ = smelt("plan", path, "--json", "--device", device)
    numbers = json.loads(out)
    assert (numbers["dispatches"], numbers["dispatches_per_layer"]) == (135, 6)
    assert (numbers["barriers"], numbers["barriers_per_layer"]) == (133, 6)


def test_errors_are_one_line(smelt, model, vocabulary):
    for arguments in ([model, "--device", "abacus"], [vocabulary]):
        code, out, err = smelt("plan", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("smelt: error: ")
        assert err.count("\n") == 1
