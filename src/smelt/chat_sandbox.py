"""Jinja's sandbox for templates out of files from the internet, with bounds to what they may use.

Everything by which a template makes something larger is intercepted: operators, `~`, lists, calls,
filters, and what is printed. No value may have more than MAX_CHARACTERS, all that is made in one
rendering together no more than MAX_WORK, and between two steps the clock is looked at. So memory is
bounded by some hundred megabytes, and time by SECONDS and a step more, which is a comparison or a
copy of that much text at worst. What a process cannot keep from itself remains: Python's own limits
on nesting, and faults of Jinja or Python. Who renders templates for strangers does it in a process
of its own, with the system's limits.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from threading import local
from typing import Any, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["MAX_CHARACTERS", "Sandbox"]

MAX_CHARACTERS = 4_000_000
"""Most characters of a rendered conversation: more is a template that means harm."""
MAX_RESULT = 16 * MAX_CHARACTERS  # by a guess from the arguments, before it is made
MAX_WORK = 50 * MAX_CHARACTERS
SECONDS = 10.0
ITEM = 8  # bytes of a reference
STEP = 500  # what a step counts for beside the characters that it makes

# What makes its first argument as many times as large as another one says.
WIDENING = {"center", "expandtabs", "join", "ljust", "replace", "rjust", "translate", "zfill"}
WIDENING |= {"batch", "indent", "slice", "tojson", "wordwrap"}
# Filters that look at no more than what they are asked for.
LIGHT = {"attr", "count", "d", "default", "first", "items", "last", "length", "map"}
LIGHT |= {"reject", "rejectattr", "select", "selectattr"}


class Generation(Extension):
    """{% generation %} marks what a model is trained to write; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """See the module. `begin` before a template is compiled and before it is rendered."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self.checked,
            extensions=[Generation, loopcontrols],
        )
        del self.globals["lipsum"]
        self._of_thread = local()
        self.begin()

    def add_filters(self, **filters: Callable[..., Any]) -> None:
        """Adds filters, and puts all there are under guard."""
        self.filters.update(filters)
        for name, function in self.filters.items():
            self.filters[name] = self._guarded(name, function)

    def begin(self) -> None:
        """A new account of what is used, in this thread."""
        self._of_thread.work, self._of_thread.until = 0, time.monotonic() + SECONDS

    def step(self, characters: int) -> None:
        """Something was made, or is about to be. SecurityError where it was too much."""
        mine = self._of_thread
        mine.work += STEP + characters
        if mine.work > MAX_WORK or time.monotonic() > mine.until:
            raise SecurityError("the template does more than any conversation needs")

    def checked(self, made: Any) -> Any:
        self.step(_size(made))
        return made

    def joined(self, *parts: Any) -> str:
        """What `~` does."""
        self.step(sum(map(_size, parts)))
        return "".join(map(str, parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = _size(left), _size(right)
        if operator == "**" and isinstance(right, (int, float)):
            _refuse_above(sizes[0] * abs(right))
        if operator == "*" and not all(isinstance(side, (int, float)) for side in (left, right)):
            _refuse_above(_factor(left) * _factor(right))
        if operator == "%" and isinstance(left, str):
            _check_format(left, "%", sizes[1])
        return self.checked(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        name, owner = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        if name in WIDENING:
            _check_widening((owner, *args, *kwargs.values()))
        if isinstance(owner, int):  # int.to_bytes
            _refuse_above(max(map(_factor, (*args, *kwargs.values())), default=0))
        return self.checked(super().call(context, obj, *args, **kwargs))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in ("format", "format_map") and isinstance(obj, str):
            _check_format(obj, "{", MAX_CHARACTERS // 2)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        return self.checked(found) if isinstance(argument, slice) else found

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        passes = getattr(function, "jinja_pass_arg", None) is not None

        @wraps(function)  # with Jinja's mark of what it passes first
        def guarded(*args: Any, **kwargs: Any) -> Any:
            given = (*args[passes:], *kwargs.values())
            if name not in LIGHT:
                for one in given:
                    _size(one)
            if name == "format" and isinstance(given[0], str):
                _check_format(given[0], "%", sum(map(_size, given[1:])))
            elif name in WIDENING:
                _check_widening(given)
            return self.checked(function(*args, **kwargs))

        return guarded

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        template.set_environment(self)
        return template


class _Instrument(NodeTransformer):
    """Puts a step at the beginning of what can be repeated, and makes `~` and lists by calls."""

    def visit_For(self, node: Any) -> nodes.Node:  # noqa: N802  # as Jinja calls it
        self.generic_visit(node)
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_call("step", nodes.Const(text))))
        return cast(nodes.Node, node)

    visit_Macro = visit_CallBlock = visit_For  # noqa: N815

    def visit_Concat(self, node: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", *node.nodes)

    def visit_List(self, node: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"
        return cast(nodes.Node, node) if stored else _call("checked", node)

    visit_Tuple = visit_Dict = visit_List  # noqa: N815


def _call(name: str, *args: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _size(x: Any) -> int:
    """Characters, digits, and ITEM for every item, those inside it included.

    SecurityError above the most.
    """
    size, waiting = 0, [x]
    while waiting:
        x = waiting.pop()
        if isinstance(x, int):
            size += 1 + x.bit_length() // 3
        elif isinstance(x, (str, bytes)):
            size += 1 + len(x)
        elif isinstance(x, (Mapping, list, tuple, set, frozenset, range)):
            size += ITEM * (1 + len(x))
        if size > MAX_CHARACTERS:
            raise SecurityError("a value is too large")
        if isinstance(x, Namespace):
            x = x._Namespace__attrs
            size += ITEM * (1 + len(x))
        if isinstance(x, Mapping):
            waiting += [*x.keys(), *x.values()]
        elif isinstance(x, (list, tuple, set, frozenset)):
            waiting += x
    return size


def _factor(x: Any) -> int:
    """How many times as large something may become by this argument."""
    if isinstance(x, (int, float)):
        return int(min(abs(x), MAX_RESULT + 1))
    return MAX_CHARACTERS // ITEM if isinstance(x, Iterator) else _size(x)


def _refuse_above(size: float, most: float = MAX_CHARACTERS) -> None:
    if not size <= most:
        raise SecurityError("a result is too large")


def _check_widening(values: Iterable[Any]) -> None:
    *_, second, first = sorted([1, 1, *map(_factor, values)])
    _refuse_above(first * second, MAX_RESULT)


def _check_format(text: str, mark: str, size: int) -> None:
    """size: of what is put in; that of arguments which are not known yet counts as the most."""
    specs = re.findall(r"%[^%a-zA-Z]*" if mark == "%" else r"\{[^{}]*", text)
    if any("*" in spec for spec in specs) or re.search(r"\{[^{}]*:[^{}]*\{", text):
        raise SecurityError("a width that is computed")
    widths = [int(digits[:9]) for spec in specs for digits in re.findall(r"\d+", spec)]
    _refuse_above(len(specs) * (size + max(widths, default=0)), MAX_RESULT)
