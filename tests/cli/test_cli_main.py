"""The command line as a whole: help, exit codes, and how errors are told."""

import os
import signal
import subprocess
import sys

import pytest

from smelt import cli

COMMANDS = ["generate", "info", "tokenize", "perplexity", "plan", "quantize"]


def test_version(smelt):
    assert smelt("--version") == (0, "smelt 0.1.0\n", "")


def test_help_lists_every_command(smelt):
    code, out, _ = smelt("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n    {command}" in out


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_has_examples_and_fits_a_terminal(smelt, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = smelt(*command, "--help")
    assert code == 0
    assert "\nexamples:\n  " in out
    assert f"usage: smelt {' '.join(command)}".rstrip() in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from smelt.cli import main\n"
        "try: main(['generate', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'numpy', 'rich', 'tokenizers', 'sentencepiece', 'gguf'} & sys.modules.keys())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["tokenize"],
        ["generate", "m.gguf", "a", "-p", "b"],
        ["generate", "m.gguf", "a", "-f", "b"],
        ["generate", "m.gguf", "a", "--max-tokens", "-2"],
        ["generate", "m.gguf", "a", "--threads", "0"],
        ["generate", "m.gguf", "a", "--n-ctx", "x"],
        ["generate", "m.gguf", "a", "--temperature", "-1"],
        ["generate", "m.gguf", "a", "--top-p", "nan"],
        ["generate", "m.gguf", "a", "--seed", "-1"],
        ["generate", "m.gguf", "a", "--logit-bias", "5"],
        ["generate", "m.gguf", "a", "--logit-bias", "-5=1"],
        ["generate", "m.gguf", "a", "--kv-type", "q8"],
        ["generate", "m.gguf", "a", "--logprobs", "3"],
        ["tokenize", "m.gguf", "a", "--ids", "--json"],
        ["perplexity", "m.gguf"],
        ["perplexity", "m.gguf", "text", "--n-ctx", "3"],
        ["plan"],
        ["quantize", "m.gguf"],
        ["quantize", "m.gguf", "out.gguf", "Q9_K"],
        ["quantize", "m.gguf", "out.gguf", "--threads", "0"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_so_at_the_end(smelt, arguments):
    code, out, err = smelt(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: smelt")
    assert err.splitlines()[-1].startswith("smelt ") or err.splitlines()[-1].startswith("smelt:")
    assert ": error: " in err.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "{}", "a"],
        ["info", "{}"],
        ["tokenize", "{}", "a"],
        ["perplexity", "{}", "{}"],
        ["plan", "{}"],
        ["quantize", "{}", "{}.out"],
    ],
)
@pytest.mark.parametrize(
    ("name", "message"), [("absent", "No such file or directory"), ("", "directory")]
)
def test_a_file_that_cannot_be_read_is_one_line(smelt, tmp_path, command, name, message):
    path = tmp_path / name
    code, out, err = smelt(*(argument.format(path) for argument in command))
    assert (code, out) == (1, "")
    assert err.startswith(f"smelt: error: {path}: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model, but long enough to be read" * 9])
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "{}", "a"],
        ["info", "{}"],
        ["tokenize", "{}", "a"],
        ["quantize", "{}", "{}.out"],
    ],
)
def test_a_file_that_is_no_model_is_one_line(smelt, tmp_path, command, content):
    path = tmp_path / "file.gguf"
    path.write_bytes(content)
    code, out, err = smelt(*(argument.format(path) for argument in command))
    assert (code, out) == (1, "")
    assert err.startswith("smelt: error: ")
    assert err.count("\n") == 1


def test_control_characters_of_a_name_do_not_reach_the_terminal(smelt, tmp_path):
    code, _, err = smelt("info", tmp_path / "\x1b[31m\nred\u202e")
    assert code == 1
    assert err.rstrip("\n").isprintable()
    assert r"\x1b[31m\nred\u202e" in err


def test_a_fault_is_told_in_one_line_and_traced_on_demand(smelt, monkeypatch):
    def fail(args):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(cli.info, "run", fail)
    monkeypatch.delenv("SMELT_DEBUG", raising=False)
    code, _, err = smelt("info", "m.gguf")
    assert code == 1
    assert err.startswith(r"smelt: error: RuntimeError: two\nlines; ")
    assert err.count("\n") == 1
    monkeypatch.setenv("SMELT_DEBUG", "0")
    assert smelt("info", "m.gguf")[0] == 1
    monkeypatch.setenv("SMELT_DEBUG", "1")
    with pytest.raises(RuntimeError):
        smelt("info", "m.gguf")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (MemoryError(), 1, "smelt: error: out of memory\n"),
        (PermissionError(13, "Permission denied", "m"), 1, "smelt: error: m: Permission denied\n"),
    ],
)
def test_what_ends_a_command_from_outside(smelt, monkeypatch, error, code, message):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.info, "run", fail)
    assert smelt("info", "m.gguf") == (code, "", message)


def test_a_module_and_a_process_of_its_own(spawn):
    process = spawn("--version")
    assert process.communicate() == (b"smelt 0.1.0\n", b"")
    assert process.returncode == 0


def test_a_reader_that_goes_away_is_not_an_error(spawn, model):
    process = spawn("generate", model, "the cat", "-n", "100", "--logit-bias", "2=-inf")
    assert process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(spawn, model):
    with open("/dev/full", "wb") as full:
        process = spawn("info", model, stdout=full)
        assert process.stderr.read() == b"smelt: error: No space left on device\n"
        assert process.wait() == 1


def test_ctrl_c_keeps_what_was_printed(spawn, model):
    process = spawn(
        *("generate", model, "the cat", "--device", "reference", "-n", "100"),
        *("--logit-bias", "2=-inf", "--echo", "--stats"),
    )
    printed = process.stdout.read(8)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    assert process.returncode == 130
    assert (printed + rest).startswith(b"the cat")
    assert rest.endswith(b"\n")
    assert b"ended by    cancelled" in errors
    assert b"Traceback" not in errors


def test_an_output_without_unicode_gets_escapes(spawn, vocabulary, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = spawn("tokenize", vocabulary, "--json", "\N{SNOWMAN}")
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert out.isascii()


@pytest.mark.parametrize(
    ("command", "shown"),
    [(["generate", "{}", "the", "-n3"], "loading"), (["perplexity", "{}", "-"], "perplexity")],
)
def test_progress_is_shown_in_a_terminal_and_nowhere_else(spawn, terminal, model, command, shown):
    arguments = [argument.format(model) for argument in command]
    options = ["--n-ctx", "32"]
    text = b"the cat sat on the mat. " * 20
    process = spawn(*arguments, *options, stdin=subprocess.PIPE)
    plain, errors = process.communicate(text)
    assert (process.returncode, errors) == (0, b"")

    inside = terminal.inside(80)
    process = spawn(*arguments, *options, stdin=subprocess.PIPE, stderr=inside)
    process.stdin.write(text)
    process.stdin.close()
    assert shown in terminal.read()
    assert process.stdout.read() == plain
    assert process.wait() == 0
