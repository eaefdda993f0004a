"""The HTML page: it is whole, needs nothing else, escapes all, and its numbers are the model's."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from report_examples import FIRST_TRAP, TRAPS, some_findings, trap_tokenizer

from small_engine import prompt_ids
from smelt import Engine
from smelt.errors import SmeltError
from smelt.report import PICTURES, draw, examine, pictures, write_page
from smelt.report.page import render
from smelt.report.surprise import percent
from smelt.tokenizer.labels import token_label

VOID = {"meta", "br", "img", "link", "input", "hr"}
MAY_LOAD = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; every tag must be closed in its order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # innermost tag, text
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    @property
    def text(self) -> str:
        return "".join(text for tag, text in self.texts if tag != "style")


def page_of(findings: Any, tokenizer: Any, title: str = "A title", **options: Any) -> str:
    made = pictures(findings, tokenizer)
    return render(title, [("File", "model.gguf")], findings.surprise, tokenizer, made, **options)


@pytest.fixture(scope="module")
def trapped() -> str:
    """A page of a text, a vocabulary and a model whose every name is a trap."""
    ids = [1, *range(FIRST_TRAP, FIRST_TRAP + len(TRAPS))]
    findings = some_findings(ids)
    findings = replace(findings, labels=tuple(token_label(trap_tokenizer(), i, 12) for i in ids))
    return page_of(findings, trap_tokenizer(), f"{TRAPS[0]}{TRAPS[7]}", note=TRAPS[1])


def test_it_loads_nothing_and_runs_nothing(trapped: str) -> None:
    page = Page(trapped)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in MAY_LOAD & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:60])
        for name in {"style", "fill", "stroke", "clip-path", "filter"} & attributes.keys():
            assert not re.search(r"url\((?!#)", attributes[name] or ""), (tag, name)
    style = "".join(text for tag, text in page.texts if tag == "style")
    assert "url(" not in style and "@import" not in style
    policy = next(a for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_every_trap_is_shown_as_text(trapped: str) -> None:
    page = Page(trapped)
    assert "img" not in {tag for tag, _ in page.tags}
    for trap in TRAPS:
        shown = trap.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
        assert shown in [text for tag, text in page.texts if tag == "span"], trap
    assert "49" not in [text for tag, text in page.texts if tag == "span"]  # {{ 7 * 7 }}
    assert "\u202e" not in trapped and "\x1b" not in trapped
    (title,) = [text for tag, text in page.texts if tag == "title"]
    assert title == f"{TRAPS[0]}\\u202eevil"
    assert TRAPS[1] in page.text  # the note


def test_ids_are_used_once(trapped: str) -> None:
    ids = [a["id"] for _, a in Page(trapped).tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for tag, a in Page(trapped).tags if tag == "a"]
    assert links == ["surprise", "next", "lens", "rms", "attention"] and set(links) <= set(ids)


def test_every_picture_has_a_title_and_says_what_it_shows(trapped: str) -> None:
    page = Page(trapped)
    assert sum(tag == "svg" for tag, _ in page.tags) == 3
    assert sum(tag == "h2" for tag, _ in page.tags) == 5
    assert sum(tag == "figcaption" for tag, _ in page.tags) == 5
    assert all(len(p.caption) > 80 for p in pictures(some_findings([1, 2]), trap_tokenizer()))


def test_light_and_dark_and_narrow(trapped: str) -> None:
    assert "color-scheme: light dark" in trapped and "prefers-color-scheme: dark" in trapped
    assert 'name="viewport"' in trapped
    colours = dict.fromkeys(re.findall(r"var\((--[a-z]+)", trapped))
    for colour in colours:
        assert trapped.count(f"{colour}:") >= 1, colour


def test_the_numbers_are_the_model_s(path: Path, tmp_path: Path) -> None:
    ids = prompt_ids(21)
    with Engine(path, threads=2) as engine:
        findings = examine(engine, ids)
        logits = engine.logits(ids).astype(np.float64)
        write_page(findings, engine, tmp_path / "report.html", "A note.")
        tokenizer = engine.tokenizer
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    tips = [str(a["title"]) for tag, a in page.tags if tag == "span" and "title" in a]
    bits = [float(tip.split(" bits")[0].split()[-1]) for tip in tips[1:]]
    chunks = findings.surprise.chunks(tokenizer)[1:]
    assert len(bits) == len(chunks)
    at = 1
    for shown, chunk in zip(bits, chunks, strict=True):
        expected = 0.0
        for _ in chunk.tokens:
            expected -= np.log2(p[at - 1, ids[at]])
            at += 1
        assert shown == pytest.approx(expected, abs=0.0501)  # one digit is shown
    assert at == len(ids)
    order = np.argsort(-p[-1], kind="stable")[:10]
    rows = re.findall(
        r'<td><code>(.*?)</code></td><td class="number">(.*?)</td><td class="bar">',
        (tmp_path / "report.html").read_text("utf-8"),
    )
    assert [html.unescape(label) for label, _ in rows] == [token_label(tokenizer, t) for t in order]
    assert [html.unescape(shown) for _, shown in rows] == [percent(p[-1, t]) for t in order]
    mean = -np.mean([np.log2(p[at, ids[at + 1]]) for at in range(len(ids) - 1)])
    assert f"{mean:.2f} bits" in page.text
    assert "A note." in page.text and "tiny random llama" in page.text


def test_what_is_examined_is_what_was_traced(path: Path) -> None:
    ids = prompt_ids(19)
    with Engine(path, threads=2) as engine:
        run = engine.trace(ids, fused=False)
        findings = examine(engine, ids, heads=[(1, 3), (0, 0)])
    assert [head for head, _, _ in findings.maps] == [(1, 3), (0, 0)]
    for (layer, head), _, weights in findings.maps:
        np.testing.assert_array_equal(weights, run[f"blk.{layer}.kq_softmax"][:, head])
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert len(findings.habits) == 8
    for row, name in enumerate(["embed", "blk.0.out", "blk.1.out"]):
        rms = np.sqrt(np.mean(run[name].astype(np.float64) ** 2, axis=1))
        assert findings.rms.stream.middle[row] == pytest.approx(np.median(rms))
        assert findings.rms.stream.highest[row] == pytest.approx(rms.max())
    last = run["logits"][-14:]
    assert findings.lens.read == tuple(ids[-14:])
    assert findings.lens.tokens[-1].tolist() == last.argmax(axis=1).tolist()


@pytest.mark.parametrize("name", PICTURES)
def test_single_pictures(tmp_path: Path, name: str) -> None:
    findings = some_findings([1, FIRST_TRAP, FIRST_TRAP + 1])
    draw(findings, trap_tokenizer(), name, tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_text("utf-8").count("<svg") == 1


def test_no_such_picture(tmp_path: Path) -> None:
    with pytest.raises(SmeltError, match="surprise, lens, rms, attention"):
        draw(some_findings([1]), trap_tokenizer(), "landscape", tmp_path / "p.svg")


def test_one_token_is_enough(path: Path, tmp_path: Path) -> None:
    with Engine(path, threads=1) as engine:
        write_page(examine(engine, [1]), engine, tmp_path / "one.html")
    assert "nan" not in Page((tmp_path / "one.html").read_text("utf-8")).text.lower()


def test_lines_of_a_text_stay_lines() -> None:
    ids = trap_tokenizer().encode("a\\t\r\nb\tc")
    page = Page(page_of(some_findings(ids), trap_tokenizer()))
    shown = "".join(t for tag, t in page.texts if tag == "span")
    assert "a\\t\\r⏎\nb\tc" in shown
