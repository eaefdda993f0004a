"""The tokenizer's metadata values, checked for type and length before anything uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..errors import ModelFormatError

__all__ = ["Fields", "shorten"]

_PREFIX = "tokenizer.ggml."


def shorten(value: object) -> str:
    """A value as an error message shows it, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Fields:
    """Typed access to the keys tokenizer.ggml.NAME of one file.

    Every method raises ModelFormatError, with the file, the key, what it should hold and what it
    holds.
    """

    def __init__(self, metadata: Mapping[str, Any], source: str) -> None:
        self._metadata = metadata
        self.where = f"{source}: " if source else ""

    def refuse(self, name: str, expected: str, found: str) -> NoReturn:
        """Raise the ModelFormatError of a key."""
        raise ModelFormatError(
            f"{self.where}key {_PREFIX + name!r}: expected {expected}, found {found}; "
            "download the file again or convert it anew"
        )

    def has(self, name: str) -> bool:
        return _PREFIX + name in self._metadata

    def string(self, name: str, default: str | None = None) -> str:
        value = self._value(name, default, "a string")
        if not isinstance(value, str):
            self.refuse(name, "a string", shorten(value))
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._value(name, default, "a boolean")
        if not isinstance(value, bool):
            self.refuse(name, "a boolean", shorten(value))
        return value

    def token_id(self, name: str, n_vocab: int) -> int | None:
        """A token's id, or None where the key is absent."""
        if not self.has(name):
            return None
        value = self._value(name, None, "a token id")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n_vocab:
            self.refuse(name, f"a token id from 0 to {n_vocab - 1}", shorten(value))
        return value

    def strings(self, name: str) -> list[str]:
        """An array of strings, read as a whole."""
        values = self._array(name, (str,), "an array of strings")
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            self.refuse(name, "strings of Unicode characters", "a surrogate in one of them")
        return values

    def integers(self, name: str, count: int) -> list[int]:
        """An array of `count` integers, one a token."""
        return self._array(name, (int,), "an array of integers", count)

    def reals(self, name: str, count: int) -> list[float]:
        """An array of `count` numbers, one a token, none of them NaN."""
        values = self._array(name, (int, float), "an array of numbers", count)
        for index, value in enumerate(values):
            if value != value:
                self.refuse(name, "numbers that can be ordered", f"NaN at {index}")
        return values

    def _value(self, name: str, default: object, expected: str) -> Any:
        value = self._metadata.get(_PREFIX + name, default)
        if value is None:
            self.refuse(name, expected, "no such key")
        return value

    def _array(
        self, name: str, kinds: tuple[type, ...], expected: str, count: int | None = None
    ) -> list[Any]:
        """The items of an array, as Python's own strings and numbers."""
        value = self._value(name, None, expected)
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            self.refuse(name, expected, shorten(value))
        items = list(value)
        if count is not None and len(items) != count:
            self.refuse(
                name,
                f"{count} values, one for each of {_PREFIX}tokens",
                f"an array of {len(items)}",
            )
        odd = {
            kind for kind in set(map(type, items)) if kind is bool or not issubclass(kind, kinds)
        }
        if odd:
            index = next(i for i, item in enumerate(items) if type(item) in odd)
            self.refuse(name, expected, f"{shorten(items[index])} at {index}")
        return items
