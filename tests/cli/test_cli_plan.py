"""`smelt plan`: what smelt.plan makes of a model."""

import json

import pytest

from smelt.plan import plan


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


def test_errors_are_one_line(smelt, model, vocabulary):
    for arguments in ([model, "--device", "abacus"], [vocabulary]):
        code, out, err = smelt("plan", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("smelt: error: ")
        assert err.count("\n") == 1
