"""`smelt generate` as a storyteller: without a model, by a chat template, in a conversation."""

import json

import pytest

from smelt import Engine, default_model_path

END = "\x04"  # Ctrl-D
STORY = "Tell me a story about a fox who is afraid of the dark"


@pytest.fixture(scope="module")
def engine():
    with Engine(device="cpu") as engine:
        yield engine


@pytest.mark.parametrize(
    "arguments",
    [
        [STORY],
        ["-p", STORY],
        ["--chat", STORY],
        [default_model_path(), STORY, "--chat"],
        [default_model_path(), "--chat", "-p", STORY],
    ],
)
def test_a_request_is_answered(smelt, engine, arguments):
    expected = engine.chat(STORY, 30).text
    assert smelt("generate", *arguments, "-n30", "--device=cpu") == (0, expected + "\n", "")


def test_an_answer_goes_on_until_its_end(smelt, engine):
    code, out, _ = smelt("generate", STORY, "--device=cpu", "--json")
    report = json.loads(out)
    assert (code, report["finish_reason"], report["prompt"]) == (0, "stop", STORY)
    assert report["text"] == engine.chat(STORY).text
    assert len(report["token_ids"]) > 128


def test_the_storyteller_also_continues_texts(smelt, engine):
    expected = engine.generate("Once upon a time", 128).text
    arguments = ("Once upon a time", "--no-chat", "--device=cpu")
    assert smelt("generate", *arguments) == (0, expected + "\n", "")


def test_what_looks_like_a_model_is_one(smelt, model, tmp_path):
    for arguments in (["missing.gguf", "Once"], ["missing.gguf", "-p", "Once"], ["mistyped", "x"]):
        code, _, err = smelt("generate", *arguments)
        assert (code, err) == (1, f"smelt: error: {arguments[0]}: No such file or directory\n")
    other = tmp_path / "model without an ending"
    other.symlink_to(model)
    assert smelt("generate", other, "-p", "the", "-n3") == smelt("generate", model, "the", "-n3")


def test_a_model_without_a_template_says_so(smelt, model):
    code, out, err = smelt("generate", model, "--chat", "Hi")
    assert (code, out) == (1, "")
    assert err.startswith(f"smelt: error: {model}: the model has no chat template")


def test_a_system_s_message_needs_a_chat(smelt, model):
    code, _, err = smelt("generate", model, "Hi", "--system", "Be kind")
    assert code == 2
    assert "--system needs --chat" in err


def converse(spawn, terminal, typed, *options):
    inside = terminal.inside(200)
    arguments = ("generate", "--chat", "--device=cpu", *options)
    process = spawn(*arguments, stdin=inside, stdout=inside, stderr=inside)
    try:
        shown = "".join(terminal.answer("\n> ", line) for line in typed)
        shown += terminal.read()
        assert process.wait() == 0
    finally:
        process.kill()
    return shown.replace("\r\n", "\n")


def test_a_conversation_remembers(spawn, terminal, engine):
    first = engine.chat(STORY).text
    turns = [
        {"role": "user", "content": STORY},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "What was the name of the fox?"},
    ]
    second = engine.chat(turns).text
    shown = converse(spawn, terminal, [f"{STORY}\n", "\n", f"{turns[2]['content']}\n", END])
    assert "Ctrl-D ends the conversation" in shown
    assert first in shown
    assert second in shown.split(first)[1]


def test_a_long_conversation_forgets_its_beginning(spawn, terminal):
    """With room for 128 tokens, ten questions do not fit; each is still answered."""
    questions = [f"What is {n} + 8?\n" for n in range(1, 11)]
    shown = converse(spawn, terminal, [*questions, END], "--n-ctx=128")
    for n in range(1, 11):
        assert f"{n} + 8 = {n + 8}." in shown


def test_an_answer_that_was_cut_off_is_called_so(spawn, terminal):
    shown = converse(spawn, terminal, [f"{STORY}\n", END], "-n5", "--stats")
    assert "cut off" in shown
    assert "5 tokens in" in shown
