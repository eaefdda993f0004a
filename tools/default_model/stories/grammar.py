"""The grammar: rules of templates, read from `grammar/` and parsed once.

A file holds sections, `== name`, of one template a line. In a template stand

    [one|or|another]        alternatives, which nest
    <rule>  <$var.rule>     a line of another rule; $var is looked up in the story's state
    {h}  {e.his}            references, see telling.py
    {!key=value}            sets a key of the state
    ^  //                   the next letter as a capital; a new paragraph

A line may begin with `?conditions ` and end with ` ## question => answer` pairs. Conditions are
separated by commas: `key` (is set), `!key`, `key=one|two`, `key!=value`, `key>1`. A line whose
first condition names tags of the object, `?o.rope,o.pole`, wants any one of them. The more
conditions a line has, the sooner it is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .lexicon import lexicon

__all__ = ["Alternatives", "Line", "Mark", "Node", "Reference", "Rule", "grammar"]

FOLDER = Path(__file__).parent / "grammar"
State = Mapping[str, str]


class Rule(NamedTuple):
    name: str


class Reference(NamedTuple):
    """`{who.form}`; `capital` where it was written with a trailing ^."""

    who: str
    form: str
    capital: bool


class Setting(NamedTuple):
    key: str
    value: str


class Mark(NamedTuple):
    """A capital letter ("^") or a new paragraph ("//")."""

    kind: str


class Alternatives(NamedTuple):
    options: tuple[tuple[Node, ...], ...]


Node: TypeAlias = "str | Rule | Reference | Setting | Mark | Alternatives"


@dataclass(frozen=True, eq=False)
class Line:
    nodes: tuple[Node, ...]
    holds: Callable[[State], bool] | None
    weight: float
    questions: tuple[tuple[tuple[Node, ...], tuple[Node, ...]], ...]
    source: str


@cache
def grammar() -> dict[str, tuple[Line, ...]]:
    """All rules by name; those of words begin with "w."."""
    rules: dict[str, list[Line]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        section = ""
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            if text.startswith("== "):
                section = text[3:].strip()
                if section in rules:
                    raise ValueError(f"{path.name}:{number}: rule {section} is there twice")
                rules[section] = []
            elif text and not text.startswith("# "):
                rules[section].append(parse_line(text, f"{path.name}:{number}"))
    for name, words in lexicon().words.items():
        rules[name] = [parse_line(word, name) for word in words]
    return {name: tuple(lines) for name, lines in rules.items()}


def parse_line(text: str, source: str = "") -> Line:
    """A line of a rule; ValueError where it is not well-formed."""
    body, *pairs = text.split(" ## ")
    conditions: list[str] = []
    if body.startswith("?"):
        head, _, body = body.partition(" ")
        conditions = head[1:].split(",")
    questions = []
    for pair in pairs:
        question, arrow, answer = pair.partition(" => ")
        if not arrow:
            raise ValueError(f"{source}: a question without an answer: {pair!r}")
        questions.append((parse(question, source), parse(answer, source)))
    holds, weight = _conditions(conditions)
    return Line(parse(body.strip(), source), holds, weight, tuple(questions), source)


def _conditions(conditions: list[str]) -> tuple[Callable[[State], bool] | None, float]:
    """A test of the state, if any, and the weight of a line that passes it."""
    if not conditions:
        return None, 1.0
    tags = [c for c in conditions if c.startswith("o.") and c not in ("o.many", "o.told")]
    tests = [_condition(c) for c in conditions if c not in tags]
    # most of what the object is good for should be used; lines for any object are the last resort
    weight = 5.0 if tags else 2.0 ** min(len(tests), 2)
    if conditions in (["o"], ["!o"], ["!o.many"]):
        weight = 1.0
    if len(tests) == 1 and not tags:
        return tests[0], weight

    def holds(state: State) -> bool:
        if tags and not any(tag in state for tag in tags):
            return False
        return all(test(state) for test in tests)

    return holds, weight


def _condition(text: str) -> Callable[[State], bool]:
    key, _, value = text.partition("!=")
    if value:
        values = frozenset(value.split("|"))
        return lambda state: state.get(key, "") not in values
    key, _, value = text.partition("=")
    if value:
        values = frozenset(value.split("|"))
        return lambda state: state.get(key, "") in values
    if text.startswith("!"):
        return lambda state: text[1:] not in state
    return lambda state: text in state


_TOKEN = re.compile(r"\[|\]|\||<[^<>]*>|\{[^{}]*\}|\^|//|[^\[\]|<{^/]+|/")


def parse(text: str, source: str = "") -> tuple[Node, ...]:
    """The nodes of a template."""
    stack: list[list[list[Node]]] = [[[]]]
    for token in _TOKEN.findall(text):
        if token == "[":
            stack.append([[]])
        elif token == "|":
            stack[-1].append([])
        elif token == "]":
            options = stack.pop()
            if not stack:
                raise ValueError(f"{source}: a bracket too many in {text!r}")
            stack[-1][-1].append(Alternatives(tuple(tuple(option) for option in options)))
        else:
            stack[-1][-1].append(_leaf(token))
    if len(stack) != 1 or len(stack[0]) != 1:
        raise ValueError(f"{source}: brackets do not match in {text!r}")
    return tuple(stack[0][0])


def _leaf(token: str) -> Node:
    if token in ("^", "//"):
        return Mark(token)
    if token[0] == "<" and len(token) > 1:
        return Rule(token[1:-1])
    if token[0] != "{":
        return token
    inner = token[1:-1]
    if inner.startswith("!"):
        key, _, value = inner[1:].partition("=")
        return Setting(key, value)
    capital = inner.endswith("^")
    who, _, form = inner.rstrip("^").partition(".")
    if who in _HERO_FORMS:
        who, form = "h", _HERO_FORMS[who]
    return Reference(who, form, capital)


# What a reference without a name before the point stands for: forms of the hero.
_HERO_FORMS = {
    "s": "s",
    "he": "he",
    "him": "him",
    "his": "his",
    "himself": "himself",
}
