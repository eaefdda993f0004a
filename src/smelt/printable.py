"""Texts of unknown origin made safe to show."""

from __future__ import annotations

__all__ = ["printable", "printable_text"]


def printable(text: str) -> str:
    """The text in one line, control characters and the like as escapes: safe for a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_text(text: str) -> str:
    """The same for a text of several lines: their ends, and tabs, stay."""
    lines = ("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
    return "\n".join(lines)
