"""Conversations as the text that a model was trained with: its own chat template, rendered.

The templates are Jinja2, as Hugging Face's transformers introduced them ("Chat templates" in its
documentation), and use what that library offers: raise_exception(), strftime_now(), tojson
without HTML's escapes, {% break %} and {% continue %}, and the tag {% generation %}. They come out
of a file from the internet and therefore run in a sandbox: chat_sandbox.py says what it bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ChatTemplateError

if TYPE_CHECKING:
    from .chat_sandbox import Sandbox
    from .tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Message", "as_messages"]

Message = Mapping[str, Any]
"""A turn: "role" ("system", "user", "assistant", ...), "content", and what else templates read."""

MAX_REASON = 400  # characters of what a template gives as the reason of its refusal

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


def _texts(content: Any) -> Iterator[str]:
    """The texts in a message's content: itself, or those of its parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (Mapping, list, tuple)):
        for part in content.values() if isinstance(content, Mapping) else content:
            yield from _texts(part)


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
        self._environment = _environment()
        try:
            self._template = self._environment.from_string(text)
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
        from .chat_sandbox import MAX_CHARACTERS

        pieces: list[str] = []
        length = 0
        try:
            self._environment.begin()
            for piece in self._template.generate(known | variables):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_CHARACTERS:
                    raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
        except Exception as error:  # a template is a program from a file: it may fail in any way
            raise self._failed(error) from None
        return "".join(pieces)

    def encode(self, conversation: str | Sequence[Message], **variables: Any) -> list[int]:
        """The token ids of a conversation, BOS in front where the model wants one.

        The template's own special tokens become tokens; their spellings inside a message's content
        stay text, so that nobody ends their turn by typing "<|end|>".
        """
        messages = as_messages(conversation)
        typed = {char for m in messages for text in _texts(m["content"]) for char in text}
        mark = next((char for char in map(chr, _MARKS) if char not in typed), None)
        if mark is None:
            raise ChatTemplateError(
                "the conversation holds every character of Unicode's private use; one is needed"
            )
        for message in messages:
            message["content"] = self._marked(message["content"], mark)
        tokenizer = self._tokenizer
        text = self.render(messages, **variables)
        ids = tokenizer.encode(text, add_bos=False, parse_special=True, mark=mark)
        if tokenizer.add_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
            ids.insert(0, tokenizer.bos_id)
        return ids

    def _marked(self, content: Any, mark: str) -> Any:
        """The content, or all texts in its parts, with its special tokens marked."""
        if isinstance(content, str):
            return self._tokenizer.mark_specials(content, mark)
        if isinstance(content, Mapping):
            return {key: self._marked(value, mark) for key, value in content.items()}
        if isinstance(content, (list, tuple)):
            return [self._marked(part, mark) for part in content]
        return content

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._tokenizer.token_text(token)

    def _failed(self, error: BaseException) -> ChatTemplateError:
        reason = str(error).strip()[:MAX_REASON] or type(error).__name__
        line = getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        return ChatTemplateError(f"{self._where}chat template{at}: {reason}")


def _environment() -> Sandbox:
    from .chat_sandbox import Sandbox

    environment = Sandbox()
    environment.add_filters(tojson=_to_json)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _refuse(reason: object) -> NoReturn:
    """raise_exception() of a template."""
    from jinja2 import TemplateRuntimeError

    raise TemplateRuntimeError(str(reason))


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)
