"""`smelt generate`: the text that an Engine makes, as it makes it, and everything about it."""

import json

import pytest

from smelt import Engine
from smelt.cli import completion, generate
from smelt.completion import Piece

NO_END = ["--logit-bias", "2=-inf"]  # token 2 ends the text


@pytest.fixture(scope="module")
def engine(model):
    with Engine(model) as engine:
        yield engine


def test_the_text_is_the_engine_s(smelt, model, engine):
    expected = engine.generate("the cat", 20).text
    assert smelt("generate", model, "the cat", "-n", 20) == (0, expected + "\n", "")
    assert smelt("generate", model, "-n", "20", "the cat")[1] == expected + "\n"
    assert smelt("generate", "-p", "the cat", model, "-n20")[1] == expected + "\n"


def test_echo_puts_the_prompt_first(smelt, model, engine):
    expected = engine.generate("the cat", 5).text
    _, out, _ = smelt("generate", model, "the cat", "-n5", "--echo")
    assert out == f"the cat{expected}\n"


def test_every_sampling_option_reaches_the_engine(smelt, model, engine):
    options = {
        "temperature": 0.9,
        "top_k": 50,
        "top_p": 0.95,
        "min_p": 0.01,
        "typical_p": 0.97,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "penalty_window": 7,
        "seed": 11,
    }
    expected = engine.generate("the cat", 30, logit_bias={2: -100.0, 262: 1.5}, **options)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    arguments += ["--logit-bias=2=-100", "--logit-bias=262=1.5"]
    code, out, _ = smelt("generate", model, "the cat", "-n30", "--json", *arguments)
    assert code == 0
    assert json.loads(out)["token_ids"] == expected.token_ids
    assert {name for name, _, _ in generate.SAMPLING} == options.keys()


def test_json_says_all_there_is_to_say(smelt, model, engine):
    expected = engine.generate("the cat", 6, logprobs=2)
    code, out, _ = smelt("generate", model, "the cat", "-n6", "--json", "--logprobs", "2")
    assert code == 0
    report = json.loads(out)
    assert report["prompt"] == "the cat"
    assert report["text"] == expected.text
    assert report["token_ids"] == expected.token_ids
    assert report["prompt_token_ids"] == expected.prompt_token_ids
    assert report["finish_reason"] == expected.finish_reason
    assert [step["token_id"] for step in report["logprobs"]] == expected.token_ids
    for step, known in zip(report["logprobs"], expected.logprobs, strict=True):
        assert step["logprob"] == pytest.approx(known.logprob)
        assert [token for token, _ in step["top"]] == [token for token, _ in known.top]
    assert report["timings"]["prompt_tokens"] == len(expected.prompt_token_ids)
    assert report["timings"]["load_seconds"] > 0


def test_a_new_seed_each_time_which_can_be_given_again(smelt, model):
    def tokens(*options):
        _, out, _ = smelt("generate", model, "the", "-n30", "--json", "--temperature=2", *options)
        report = json.loads(out)
        return report["seed"], report["token_ids"]

    seed, first = tokens()
    assert tokens()[0] != seed
    assert tokens("--seed", str(seed)) == (seed, first)


def test_a_stop_text_ends_it(smelt, model, engine):
    whole = engine.generate("the cat", 40, logit_bias={2: -1e6}).text
    stop = whole[10:13]
    arguments = ["generate", model, "the cat", "-n40", *NO_END, "--stop", "no such", "--stop", stop]
    assert smelt(*arguments)[1] == whole[: whole.index(stop)] + "\n"
    assert json.loads(smelt(*arguments, "--json")[1])["finish_reason"] == "stop"


def test_special_tokens_in_the_prompt(smelt, model):
    plain, parsed = (
        json.loads(smelt("generate", model, "</s>", "-n0", "--json", *options)[1])
        for options in ([], ["--parse-special"])
    )
    assert parsed["prompt_token_ids"] == [1, 2]
    assert len(plain["prompt_token_ids"]) > 2


def test_without_a_limit_the_context_is_the_limit(smelt, model):
    arguments = ["generate", model, "the cat", "-n", "-1", "--n-ctx", "40", *NO_END, "--json"]
    report = json.loads(smelt(*arguments)[1])
    assert report["finish_reason"] == "length"
    assert 40 <= len(report["prompt_token_ids"]) + len(report["token_ids"]) <= 41


def test_stats_go_to_stderr(smelt, model):
    code, out, err = smelt("generate", model, "the cat", "-n3", *NO_END, "--stats", "--seed=5")
    assert code == 0
    assert [line.split()[0] for line in err.splitlines()] == [
        "load",
        "prompt",
        "generation",
        "ended",
    ]
    assert "generation  3 tokens in " in err
    assert err.endswith("ended by    length, seed 5\n")
    assert "generation" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the " * 99, "--n-ctx", "20"], "20"),
        (["the", "--device", "abacus"], "'abacus'"),
        (["the", "--logit-bias", "384=1"], "token 384"),
    ],
)
def test_errors_of_the_engine_are_one_line(smelt, model, arguments, message):
    code, out, err = smelt("generate", model, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("smelt: error: ")
    assert message in err
    assert err.count("\n") == 1


class Output:
    """A stdout that tells what has been flushed."""

    def __init__(self):
        self.written = self.flushed = ""

    def write(self, text):
        self.written += text

    def flush(self):
        self.flushed = self.written


def print_pieces(monkeypatch, pieces, first="", *, silent=False):
    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    interrupted = completion.print_pieces(pieces(output), first, silent=silent)
    monkeypatch.undo()
    assert output.flushed == output.written
    return output.written, interrupted


def test_every_piece_is_flushed_before_the_next_is_made(monkeypatch):
    def pieces(output):
        assert output.flushed == "Once"
        yield Piece(" upon", 5)
        assert output.flushed == "Once upon"
        yield Piece("", 6)
        yield Piece(" a\n", None)
        assert output.flushed == "Once upon a\n"

    assert print_pieces(monkeypatch, pieces, "Once") == ("Once upon a\n", False)


@pytest.mark.parametrize("silent", [False, True])
def test_ctrl_c_ends_the_line(monkeypatch, silent):
    def pieces(output):
        yield Piece("Once", 5)
        raise KeyboardInterrupt

    expected = "" if silent else "Once\n"
    assert print_pieces(monkeypatch, pieces, silent=silent) == (expected, True)


def test_an_error_on_the_way_ends_the_line_too(monkeypatch):
    def pieces(output):
        yield Piece("Once", 5)
        raise ValueError

    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    with pytest.raises(ValueError):
        completion.print_pieces(pieces(output), "", silent=False)
    monkeypatch.undo()
    assert output.flushed == "Once\n"


def test_ctrl_c_with_json_tells_what_there_is(smelt, model, monkeypatch):
    def interrupt(stream, first, *, silent):
        assert silent
        next(iter(stream))
        return True

    monkeypatch.setattr(generate, "print_pieces", interrupt)
    code, out, _ = smelt("generate", model, "the cat", "-n9", "--json", *NO_END)
    assert code == 130
    report = json.loads(out)
    assert report["finish_reason"] == "cancelled"
    assert len(report["token_ids"]) == 1


def test_a_real_model_says_what_llama_cpp_says(smelt, shared):
    name = "prose-code-7m-F16"
    oracle = json.loads((shared / f"oracle/{name}.json").read_text())["hello"]
    model = shared / f"models/{name}.gguf"
    code, out, _ = smelt("generate", model, oracle["prompt"], "-n48", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["prompt_token_ids"] == oracle["prompt_tokens"]
    certain = next((i for i, margin in enumerate(oracle["greedy_margin"]) if margin < 0.02), 48)
    assert report["token_ids"][:certain] == oracle["greedy_tokens"][:certain]
