"""`smelt report`: one page, single pictures, and what is wrong with the arguments."""

import subprocess
import sys

import pytest

from smelt.cli.report import PICTURES
from tiny_model import write_tiny_llama

TEXT = "the cat sat on the mat."


@pytest.fixture
def drawing():
    pytest.importorskip("matplotlib")


def test_a_page(smelt, model, tmp_path, drawing):
    target = tmp_path / "out.html"
    code, out, err = smelt("report", model, "-p", TEXT, "-o", target)
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: ") and out.endswith(" tokens.\n")
    page = target.read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("<svg") == 3
    assert "cat" in page


def test_the_page_is_called_report_html(smelt, model, tmp_path, monkeypatch, drawing):
    monkeypatch.chdir(tmp_path)
    assert smelt("report", model, TEXT)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "error"])
def test_one_picture(smelt, model, tmp_path, monkeypatch, name, drawing):
    monkeypatch.chdir(tmp_path)
    code, out, err = smelt("report", model, "-p", TEXT, "--picture", name)
    assert (code, err) == (0, "") and out.startswith(f"{name}.png: ")
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert smelt("report", model, "-p", TEXT, "--picture", name, "-o", "x.svg")[0] == 0
    assert "<svg" in (tmp_path / "x.svg").read_text("utf-8")


def test_chosen_heads(smelt, model, tmp_path, drawing):
    target = tmp_path / "x.svg"
    arguments = ["report", model, "-p", TEXT, "--picture", "attention", "-o", target]
    assert smelt(*arguments, "--heads", "1.3,0.2")[0] == 0
    drawn = target.read_text("utf-8")
    assert "layer 1, head 3" in drawn and "layer 0, head 2" in drawn
    assert "layer 1, head 2" not in drawn
    assert smelt(*arguments, "--heads", "1.3,0.2" + ",0.2" * 200)[0] == 0
    assert target.read_text("utf-8") == drawn
    code, out, err = smelt(*arguments, "--heads", "9.9")
    assert (code, out) == (1, "") and "layers 0 to 1 with heads 0 to 3" in err


def test_a_long_text_is_cut_and_the_page_says_so(smelt, model, tmp_path, drawing):
    target = tmp_path / "out.html"
    code, out, err = smelt("report", model, "-p", TEXT * 9, "-o", target, "--tokens", "12")
    assert (code, err) == (0, "")
    assert "of which the first 12 were read." in out
    assert "of which the first 12 were read." in target.read_text("utf-8")


def test_two_runs(smelt, model, tmp_path, drawing):
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1)
    arguments = ["report", model, "-p", TEXT, "--against"]
    code, out, err = smelt(*arguments, other, "-o", tmp_path / "two.html")
    assert (code, err) == (0, "")
    page = (tmp_path / "two.html").read_text("utf-8")
    assert page.count("<svg") == 4 and "first op out of tolerance is embed" in page
    code, out, err = smelt(
        *arguments, "reference", "--picture", "error", "-o", tmp_path / "error.svg"
    )
    assert (code, err) == (0, "") and out.startswith(str(tmp_path))
    drawn = (tmp_path / "error.svg").read_text("utf-8")
    assert "B: tiny.gguf on reference" in drawn and "first above it" not in drawn


def test_diff_draws_it_too(smelt, model, tmp_path, drawing):
    code, out, err = smelt("diff", model, "-p", TEXT, "--plot", tmp_path / "error.svg")
    assert (code, err) == (0, "") and "within tolerance" in out
    assert "B: tiny.gguf on reference" in (tmp_path / "error.svg").read_text("utf-8")
    code, out, err = smelt("diff", model, "-p", TEXT, "--plot", tmp_path / "error.pdf")
    assert (code, out) == (2, "") and ".png or .svg" in err


def test_a_run_of_other_tokens_is_refused(smelt, model, tmp_path, drawing):
    run = tmp_path / "run.npz"
    assert smelt("trace", model, "-p", "another text", "-o", run)[0] == 0
    code, out, err = smelt(
        "report", model, "-p", TEXT, "--against", run, "-o", tmp_path / "out.html"
    )
    assert (code, out) == (1, "") and "different prompts" in err
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "report.png"], "for one picture add --picture NAME"),
        (["-o", "model.gguf"], ".html"),
        (["--picture", "lens", "-o", "x.html"], ".png or .svg"),
        (["--picture", "landscape"], "invalid choice"),
        (["--tokens", "0"], "--tokens"),
        (["--picture", "error"], "--against B"),
    ],
)
def test_usage(smelt, model, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    code, out, err = smelt("report", model, "-p", TEXT, *arguments)
    assert (code, out) == (2, "")
    assert problem in err
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_one_line_says_what_to_install(smelt, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = smelt("report", model, "-p", TEXT, "-o", tmp_path / "out.html")
    assert (code, out) == (1, "")
    assert "pip install 'smelt[plot]'" in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_has_examples(smelt):
    code, out, _ = smelt("report", "--help")
    assert code == 0 and "examples:" in out and "--picture" in out


def test_a_model_is_examined_without_matplotlib(model):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from smelt import Engine; from smelt.report import examine\n"
        f"engine = Engine({str(model)!r}, device='cpu', threads=1)\n"
        "print(len(examine(engine, engine.tokenize('the cat')).lens.tokens))"
    )
    found = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", found + code], capture_output=True, check=True)
    assert done.stdout.strip() == b"3"
