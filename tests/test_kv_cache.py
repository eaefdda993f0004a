"""The KV cache's bookkeeping, with pages whose contents the tests simulate.

A slot of a page holds what really depends on it: the whole sequence of tokens up to it. So a wrong
page, a page written by two sequences and a stale page all show as a wrong content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from smelt import kv_cache
from smelt.backends.base import PAGE_TOKENS
from smelt.errors import DeviceError
from smelt.kv_cache import KVCache, Sequence, common_length

Page = dict[int, tuple[int, ...]]


class FakePool:
    """Grows up to a limit; contents: page -> slot -> the tokens that its keys depend on."""

    page_bytes = 1

    def __init__(self, limit: int = 10**9):
        self.limit = limit
        self.n_pages = 0
        self.contents: dict[int, Page] = {}

    def grow(self, n_pages: int) -> None:
        if n_pages > self.limit:
            raise DeviceError(f"no memory for {n_pages} pages")
        self.n_pages = max(self.n_pages, n_pages)


def write(cache: KVCache, sequence: Sequence, tokens: list[int], page_tokens: int) -> None:
    """What the Engine does in a step: reserve, let the device write, count the tokens."""
    cache.reserve(sequence, len(tokens))
    pool = cache.pool
    assert isinstance(pool, FakePool)
    everything = sequence.tokens + tokens
    for position in range(len(sequence.tokens), len(everything)):
        page = sequence.pages[position // page_tokens]
        assert page < pool.n_pages
        slots = pool.contents.setdefault(page, {})
        slots[position % page_tokens] = tuple(everything[: position + 1])
    sequence.tokens += tokens


def holds_what_it_says(cache: KVCache, sequence: Sequence, page_tokens: int) -> bool:
    pool = cache.pool
    assert isinstance(pool, FakePool)
    return all(
        pool.contents[sequence.pages[p // page_tokens]][p % page_tokens]
        == tuple(sequence.tokens[: p + 1])
        for p in range(len(sequence.tokens))
    )


SMALL = 4  # tokens a page
# mostly the same letter, so that prefixes meet, part and share pages
TAILS = st.lists(st.integers(0, 1), max_size=3)
TOKENS = st.builds(lambda n, tail: ([0] * n + tail) or [1], st.integers(0, 14), TAILS)


class CacheMachine(RuleBasedStateMachine):
    """begin, extend, fail and end in any order."""

    active: Bundle[Sequence] = Bundle("active")

    def __init__(self) -> None:
        super().__init__()
        self._real = vars(kv_cache)["PAGE_TOKENS"]
        vars(kv_cache)["PAGE_TOKENS"] = SMALL

    def teardown(self) -> None:
        vars(kv_cache)["PAGE_TOKENS"] = self._real

    @initialize(n_ctx=st.integers(1, 40), limit=st.sampled_from([6, 10, 10**9]))
    def start(self, n_ctx: int, limit: int) -> None:
        self.pool = FakePool(limit)
        self.cache = KVCache(self.pool, n_ctx)
        self.live: list[Sequence] = []

    def everyone(self) -> list[Sequence]:
        return [*self.cache._active, *self.cache._idle]

    @rule(target=active, prompt=TOKENS, reuse=st.booleans())
    def begin(self, prompt: list[int], reuse: bool) -> Sequence:
        before = [list(s.tokens) for s in self.everyone()]
        sequence = self.cache.begin(prompt, reuse)
        self.live.append(sequence)
        known = len(sequence.tokens)
        assert sequence.tokens == prompt[:known] and known < len(prompt)
        assert len(sequence.pages) == -(-known // SMALL)
        best = max((common_length(t, prompt[:-1]) for t in before), default=0)
        assert known <= best if reuse else known == 0
        if reuse:
            assert known >= best // SMALL * SMALL
        return sequence

    @rule(sequence=active, tokens=TOKENS)
    def extend(self, sequence: Sequence, tokens: list[int]) -> None:
        tokens = tokens[: max(0, self.cache.n_ctx - len(sequence.tokens))]
        before = Counter(page for s in self.everyone() for page in s.pages)
        held, n_pages = len(sequence.pages), self.cache.n_pages
        try:
            write(self.cache, sequence, tokens, SMALL)
        except DeviceError:
            assert not self.cache._free  # there really was no room
            return
        for page in sequence.pages[held:]:
            still = sum(page in s.pages for s in self.everyone())
            assert still == 1, f"page {page} was in use: {before[page]}"
        if self.cache.n_pages > max(n_pages, self.cache.max_pages):
            assert not self.cache._idle, "memory grew while idle sequences held pages"

    @rule(sequence=active, prompt=TOKENS)
    def prefill(self, sequence: Sequence, prompt: list[int]) -> None:
        """As begin() would have been asked for: on along a prompt that others may have too."""
        known = len(sequence.tokens)
        if sequence.tokens == prompt[:known]:
            self.extend(sequence, prompt[known:])

    @rule(sequence=active, n=st.integers(0, 9))
    def a_step_that_fails(self, sequence: Sequence, n: int) -> None:
        """Room was made, and perhaps written to, but the tokens do not count."""
        tokens, n = list(sequence.tokens), min(n, self.cache.n_ctx - len(sequence.tokens))
        try:
            write(self.cache, sequence, [7] * n, SMALL)
        except DeviceError:
            return
        sequence.tokens[:] = tokens

    @rule(sequence=consumes(active), keep=st.booleans())
    def end(self, sequence: Sequence, keep: bool) -> None:
        self.live.remove(sequence)
        self.cache.end(sequence, keep)
        assert (sequence in self.cache._idle) == (keep and bool(sequence.tokens))
        assert len(sequence.pages) == (-(-len(sequence.tokens) // SMALL) if keep else 0)

    @invariant()
    @precondition(lambda self: hasattr(self, "cache"))
    def books_are_right(self) -> None:
        cache, sequences = self.cache, self.everyone()
        assert cache._active == self.live
        held = Counter(page for s in sequences for page in s.pages)
        assert all(len(set(s.pages)) == len(s.pages) for s in sequences)
        assert [held[page] for page in range(cache.n_pages)] == cache._users
        assert sorted(cache._free) == [p for p in range(cache.n_pages) if not held[p]]
        assert cache.n_pages <= self.pool.n_pages
        assert all(len(s.pages) * SMALL >= len(s.tokens) for s in sequences)

    @invariant()
    @precondition(lambda self: hasattr(self, "cache"))
    def sequences_hold_what_they_say(self) -> None:
        assert all(holds_what_it_says(self.cache, s, SMALL) for s in self.everyone())

    @invariant()
    @precondition(lambda self: hasattr(self, "cache"))
    def shared_pages_are_whole_and_equal(self) -> None:
        sequences = self.everyone()
        for at, a in enumerate(sequences):
            for b in sequences[at + 1 :]:
                for page in set(a.pages) & set(b.pages):
                    index = a.pages.index(page)
                    assert b.pages.index(page) == index
                    end = (index + 1) * SMALL
                    assert a.tokens[:end] == b.tokens[:end] and len(a.tokens) >= end <= len(
                        b.tokens
                    )


CacheMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase


@pytest.fixture
def cache() -> Iterator[KVCache]:
    yield KVCache(FakePool(), n_ctx=8 * PAGE_TOKENS)


def run(cache: KVCache, prompt: list[int]) -> int:
    """A generation from begin to end; how many tokens were known."""
    sequence = cache.begin(prompt)
    known = len(sequence.tokens)
    write(cache, sequence, prompt[known:], PAGE_TOKENS)
    assert holds_what_it_says(cache, sequence, PAGE_TOKENS)
    cache.end(sequence)
    return known


def test_a_prompt_is_known_but_for_its_last_token(cache: KVCache) -> None:
    prompt = list(range(50))
    assert run(cache, prompt) == 0
    assert run(cache, prompt) == 49
    assert run(cache, [*prompt, 50, 51]) == 50
    assert cache.n_pages == 2


def test_one_token_is_never_known(cache: KVCache) -> None:
    run(cache, [1, 2, 3])
    assert run(cache, [1]) == 0


def test_an_active_sequence_shares_its_whole_pages(cache: KVCache) -> None:
    prompt = list(range(3 * PAGE_TOKENS + 5))
    first = cache.begin(prompt)
    write(cache, first, prompt, PAGE_TOKENS)
    second = cache.begin(prompt)
    assert len(second.tokens) == 3 * PAGE_TOKENS and second.pages == first.pages[:3]
    write(cache, second, [9, 9], PAGE_TOKENS)
    cache.end(first, keep=False)
    assert holds_what_it_says(cache, second, PAGE_TOKENS)


def test_a_shared_page_is_not_written_to(cache: KVCache) -> None:
    """An idle sequence gives up its end, but somebody else still reads the page where it parts."""
    prompt = list(range(PAGE_TOKENS + 5))
    first = cache.begin(prompt)
    write(cache, first, prompt, PAGE_TOKENS)
    reader = cache.begin(prompt)
    assert reader.pages == first.pages[:1]
    cache.end(first)
    other = [*prompt[:10], 99, 98]
    third = cache.begin(other)
    write(cache, third, other[len(third.tokens) :], PAGE_TOKENS)
    assert holds_what_it_says(cache, third, PAGE_TOKENS)
    assert holds_what_it_says(cache, reader, PAGE_TOKENS)


def test_no_reuse(cache: KVCache) -> None:
    run(cache, [1, 2, 3])
    assert cache.begin([1, 2, 3], reuse=False).tokens == []


def test_idle_pages_are_given_up_before_memory_grows(cache: KVCache) -> None:
    for start in range(0, 100_000, 1000):
        run(cache, list(range(start, start + 2 * PAGE_TOKENS)))
        assert cache.n_pages <= cache.max_pages


def test_the_longest_unused_goes_first(cache: KVCache) -> None:
    prompts = [list(range(n, n + 2 * PAGE_TOKENS)) for n in (0, 1000, 2000, 3000)]
    for prompt in prompts:
        run(cache, prompt)
    run(cache, prompts[0])  # used again: now the second is the oldest
    run(cache, list(range(4000, 4000 + 2 * PAGE_TOKENS)))
    assert run(cache, prompts[0]) == 2 * PAGE_TOKENS - 1
    assert run(cache, prompts[1]) == 0


def test_conversations_that_begin_alike_do_not_displace_each_other(cache: KVCache) -> None:
    """Finished sequences are kept until their room is needed: here only BOS is common, and there
    is room for both."""
    bos = 1
    one = [bos, *range(100, 100 + PAGE_TOKENS)]
    two = [bos, *range(200, 200 + PAGE_TOKENS)]
    run(cache, one)
    run(cache, two)
    assert cache.n_pages <= cache.max_pages / 2
    assert run(cache, one) >= PAGE_TOKENS
    assert run(cache, two) >= PAGE_TOKENS


def test_memory_that_is_refused() -> None:
    cache = KVCache(FakePool(limit=3), n_ctx=8 * PAGE_TOKENS)
    sequence = cache.begin([1, 2])
    with pytest.raises(DeviceError):
        cache.reserve(sequence, 4 * PAGE_TOKENS)
    cache.end(sequence)
    sequence = cache.begin([1, 2])
    cache.reserve(sequence, 3 * PAGE_TOKENS)
    assert sorted(sequence.pages) == [0, 1, 2]


def test_idle_pages_are_used_where_the_device_has_no_more_memory() -> None:
    cache = KVCache(FakePool(limit=3), n_ctx=8 * PAGE_TOKENS)
    run(cache, list(range(2 * PAGE_TOKENS)))
    assert run(cache, list(range(500, 500 + 3 * PAGE_TOKENS))) == 0


@pytest.mark.parametrize(
    ("a", "b", "n"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1)],
)
def test_common_length(a: list[int], b: list[int], n: int) -> None:
    assert common_length(a, b) == common_length(b, a) == n
