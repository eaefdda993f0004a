"""Bookkeeping of the KV cache: which sequence holds which pages, and what can be used again.

Keys and values stay where the device wrote them. Sharing a prefix, truncating and reusing are
changes of page tables, not copies.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .backends.base import PAGE_TOKENS
from .errors import DeviceError

if TYPE_CHECKING:
    from .backends.base import PagePool

__all__ = ["KVCache", "Sequence"]


@dataclass(eq=False)
class Sequence:
    """Tokens whose keys and values are in the cache, and the pages they lie in."""

    tokens: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)


class KVCache:
    """Hands out pages to sequences and keeps finished ones until their room is needed.

    n_ctx: most tokens of one sequence. Finished sequences may keep as many pages as one sequence
    of n_ctx tokens needs; beyond that the longest unused one is given up before memory grows.
    Not thread-safe: the Engine calls it under its lock.
    """

    def __init__(self, pool: PagePool, n_ctx: int):
        self.pool = pool
        self.n_ctx = n_ctx
        self.max_pages = -(-n_ctx // PAGE_TOKENS)
        self._users: list[int] = []  # of each page: how many sequences hold it
        self._free: list[int] = []
        self._active: list[Sequence] = []
        self._idle: list[Sequence] = []  # longest unused first

    @property
    def n_pages(self) -> int:
        """Pages allocated so far, used or not."""
        return len(self._users)

    def begin(self, prompt: Items[int], reuse: bool = True) -> Sequence:
        """A new active sequence holding the longest known prefix of the prompt.

        At least the prompt's last token is left to be evaluated, since its logits are wanted.
        """
        sequence = Sequence()
        if reuse and len(prompt) > 1:
            sequence = self._adopt(prompt[:-1])
        self._active.append(sequence)
        return sequence

    def _adopt(self, prefix: Items[int]) -> Sequence:
        """The longest known prefix: an idle sequence taken over, if that loses less than a page of
        it, or the whole pages of any sequence, shared."""
        best, known = None, 0
        for candidate in (*self._idle, *self._active):
            n = common_length(candidate.tokens, prefix)
            if candidate not in self._idle or len(candidate.tokens) - n >= PAGE_TOKENS:
                n -= n % PAGE_TOKENS
            if n > known:
                best, known = candidate, n
        if best is None:
            return Sequence()
        if best in self._idle and len(best.tokens) - known < PAGE_TOKENS:
            self._idle.remove(best)
            self._truncate(best, known)
            return best
        shared = best.pages[: known // PAGE_TOKENS]
        for page in shared:
            self._users[page] += 1
        return Sequence(list(prefix[:known]), shared)

    def reserve(self, sequence: Sequence, n_tokens: int) -> None:
        """Makes room for n_tokens more; DeviceError if there is no memory."""
        wanted = -(-(len(sequence.tokens) + n_tokens) // PAGE_TOKENS)
        while len(sequence.pages) < wanted:
            sequence.pages.append(self._take_page())

    def end(self, sequence: Sequence, keep: bool = True) -> None:
        """The sequence is no longer used; its pages are kept for later prompts, or given back."""
        self._active.remove(sequence)
        self._release(sequence, -(-len(sequence.tokens) // PAGE_TOKENS))
        if keep and sequence.tokens:
            self._idle.append(sequence)
        else:
            self._release(sequence, 0)

    def _take_page(self) -> int:
        while not self._free and self._idle and self.n_pages >= self.max_pages:
            self._release(self._idle.pop(0), 0)
        while not self._free:
            try:
                self.pool.grow(self.n_pages + 1)
            except DeviceError:
                if not self._idle:
                    raise
                self._release(self._idle.pop(0), 0)
                continue
            self._free.append(self.n_pages)
            self._users.append(0)
        page = self._free.pop()
        self._users[page] = 1
        return page

    def _truncate(self, sequence: Sequence, n_tokens: int) -> None:
        whole, rest = divmod(n_tokens, PAGE_TOKENS)
        if rest and self._users[sequence.pages[whole]] > 1:
            rest = 0  # somebody else reads this page: it must not be written to
        del sequence.tokens[whole * PAGE_TOKENS + rest :]
        self._release(sequence, whole + bool(rest))

    def _release(self, sequence: Sequence, keep: int) -> None:
        for page in sequence.pages[keep:]:
            self._users[page] -= 1
            if self._users[page] == 0:
                self._free.append(page)
        del sequence.pages[keep:]


def common_length(a: Items[int], b: Items[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])
