"""Conversations as the text that a model was trained with: its own chat template, rendered.

The templates are Jinja2, as Hugging Face's transformers introduced them ("Chat templates" in its
documentation), and use what that library offers: raise_exception(), strftime_now(), tojson
without HTML's escapes, {% break %} and {% continue %}, and the tag {% generation %}. They come out
of a file from the internet and therefore run in Jinja's sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ChatTemplateError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from .tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Message", "as_messages"]

Message = Mapping[str, Any]
"""A turn: "role" ("system", "user", "assistant", ...), "content", and what else templates read."""

MAX_CHARACTERS = 4_000_000
"""Most characters of a rendered conversation: more is a template that means harm."""

# Characters of Unicode's private use: the first that no message holds marks the spellings of
# special tokens that somebody typed.
_MARKS = range(0xE000, 0xF900)


def as_messages(conversation: str | Sequence[Message]) -> list[dict[str, Any]]:
    """The turns of a conversation; a text is one turn of a user. ChatTemplateError if malformed."""
    if isinstance(conversation, str):
        return [{"role": "user", "content": conversation}]
    messages = [dict(message) for message in conversation]
    for index, message in enumerate(messages):
        if not isinstance(message.get("role"), str) or "content" not in message:
            raise ChatTemplateError(
                f"message {index}: expected a mapping with 'role' and 'content', found keys "
                f"{sorted(map(str, message))}"
            )
    return messages


class ChatTemplate:
    """The chat template of a tokenizer. `source` names the model's file in errors."""

    def __init__(self, tokenizer: Tokenizer, source: str = "") -> None:
        self._tokenizer = tokenizer
        self._where = f"{source}: " if source else ""
        text = tokenizer.chat_template
        if text is None:
            raise ChatTemplateError(
                f"{self._where}the model has no chat template (key 'tokenizer.chat_template'): "
                "it continues texts; give it the text in the form that it was trained with"
            )
        try:
            self._template = _environment().from_string(text)
        except Exception as error:  # Jinja's own, but also the RecursionError of deep nesting
            raise self._failed(error) from None

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The conversation as the model was trained to read it, up to where it is to answer.

        variables: what else the template asks for, such as tools or enable_thinking.
        Raises ChatTemplateError where the template refuses the conversation or fails.
        """
        known = {
            "messages": list(messages),
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self._spelling(self._tokenizer.bos_id),
            "eos_token": self._spelling(self._tokenizer.eos_id),
        }
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(known | variables):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_CHARACTERS:
                    raise ChatTemplateError(
                        f"{self._where}the chat template makes more than {MAX_CHARACTERS:,} "
                        "characters of this conversation"
                    )
        except ChatTemplateError:
            raise
        except Exception as error:  # a template is a program from a file: it may fail in any way
            raise self._failed(error) from None
        return "".join(pieces)

    def encode(self, conversation: str | Sequence[Message], **variables: Any) -> list[int]:
        """The token ids of a conversation, BOS in front where the model wants one.

        The template's own special tokens become tokens; their spellings inside a message's content
        stay text, so that nobody ends their turn by typing "<|end|>".
        """
        messages = as_messages(conversation)
        typed = "".join(m["content"] for m in messages if isinstance(m["content"], str))
        mark = next(char for char in map(chr, _MARKS) if char not in typed)
        for message in messages:
            if isinstance(message["content"], str):
                message["content"] = self._tokenizer.mark_specials(message["content"], mark)
        tokenizer = self._tokenizer
        text = self.render(messages, **variables)
        ids = tokenizer.encode(text, add_bos=False, parse_special=True, mark=mark)
        if tokenizer.add_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
            ids.insert(0, tokenizer.bos_id)
        return ids

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._tokenizer.token_text(token)

    def _failed(self, error: BaseException) -> ChatTemplateError:
        reason = str(error).strip() or type(error).__name__
        line = getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        return ChatTemplateError(f"{self._where}chat template{at}: {reason}")


def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what a model is trained to write; here it is only its content."""

        tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Sandbox(ImmutableSandboxedEnvironment):
        """The sandbox, and no way to fill the memory with one multiplication."""

        intercepted_binops = frozenset(["*", "**"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            pair = left, right
            sizes = [len(side) for side in pair if isinstance(side, (str, list, tuple))]
            times = [abs(side) for side in pair if isinstance(side, (int, float))]
            if operator == "**" and times:  # an exponent multiplies the digits of its base
                sizes = [64]
            if sizes and times and max(sizes) * max(times) > MAX_CHARACTERS:
                raise SecurityError(f"a result of {operator} is too large")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _refuse(reason: object) -> NoReturn:
    """raise_exception() of a template."""
    from jinja2 import TemplateRuntimeError

    raise TemplateRuntimeError(str(reason))


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)
