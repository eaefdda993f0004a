"""Stories: the same for a seed, well-formed, about what was asked, and each another one."""

import random
import re
from collections import Counter

import pytest
from judge import problems
from stories.brief import Brief, is_held_out, make_brief
from stories.grammar import grammar, parse_line
from stories.inflect import article
from stories.lexicon import lexicon
from stories.request import ask
from stories.story import Story, rules_in_use, tell

COUNT = 5000
# A sentence may begin with these although nothing ends before them, in a list of speech.
SENTENCES = re.compile(r"(?<=[.?!])\"?\s+")


@pytest.fixture(scope="module")
def told() -> list[tuple[Brief, str, Story]]:
    """(brief, request, story) of many seeds."""
    result = []
    for seed in range(COUNT):
        rng = random.Random(seed)
        brief = make_brief(rng)
        result.append((brief, ask(rng, brief), tell(rng, brief)))
    return result


def test_a_seed_makes_one_story() -> None:
    def once(seed: int) -> tuple[str, str]:
        rng = random.Random(seed)
        brief = make_brief(rng)
        return ask(rng, brief), tell(rng, brief).text

    assert [once(seed) for seed in range(20)] == [once(seed) for seed in range(20)]


def test_every_rule_that_is_mentioned_exists() -> None:
    rules = grammar()
    assert {name for name in rules_in_use() if "$" not in name} <= rules.keys()
    for trouble in lexicon().troubles:
        assert {f"{trouble}.{part}" for part in ("setup", "fail", "solve", "after")} <= rules.keys()


@pytest.mark.parametrize("line", ["an [open bracket", "a bracket] too many", "text ## no answer"])
def test_malformed_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"bracket|answer"):
        parse_line(line, "here")


def test_nothing_is_left_unresolved(told: list[tuple[Brief, str, Story]]) -> None:
    for _, request, story in told:
        texts = [request, story.text, story.moral, *sum(story.raw_facts, ())]
        for text in texts:
            assert not re.search(r"[\[\]{}|<>^#$_]", text), text


def test_articles_fit_their_words(told: list[tuple[Brief, str, Story]]) -> None:
    for _, request, story in told:
        for text in (request, story.text):
            for found, word in re.findall(r"\b([Aa]n?) ([a-z][\w'-]*)", text):
                assert found.lower() == article(word), text


def test_sentences_begin_with_capitals_and_end(told: list[tuple[Brief, str, Story]]) -> None:
    for _, _, story in told:
        assert re.match(r'"?[A-Z]', story.text), story.text
        assert re.search(r'[.?!]"?$', story.text), story.text
        assert not re.search(r'(?<!")[.] [a-z]|[a-z][.]" [a-z]| [,.?!]|  |,,|[.][.]', story.text), (
            story.text
        )
        assert story.text.count('"') % 2 == 0, story.text


def test_stories_are_about_what_was_asked(told: list[tuple[Brief, str, Story]]) -> None:
    """The judge of the model, on what it learns from: almost nothing may be found."""
    found = [problems(story.text, brief, request) for brief, request, story in told]
    assert sum(map(bool, found)) <= COUNT // 200, [f for f in found if f]
    assert not [f for f in found for line in f if line.startswith(("no ", "not "))]


def test_the_hero_has_one_pronoun(told: list[tuple[Brief, str, Story]]) -> None:
    others = {"he": {"she"}, "she": {"he"}, "it": {"he", "she"}}
    for brief, _, story in told:
        first = re.match(r"[^.?!]*", story.text)
        assert first is not None
        words = set(re.findall(r"[a-z]+", first[0].lower()))
        if story.hero.noun in first[0] and brief.trait.kind != "pair" and '"' not in first[0]:
            assert not words & others[brief.pronoun], story.text


def test_stories_are_long_enough_and_fit_the_context(told: list[tuple[Brief, str, Story]]) -> None:
    for _, _, story in told:
        assert 40 <= len(story.text.split()) <= 700, story.text


def test_stories_rarely_share_a_sentence(told: list[tuple[Brief, str, Story]]) -> None:
    """Of two stories, fewer than one pair in twenty may share a sentence of six words or more."""
    sentences = [
        {s for s in SENTENCES.split(story.text) if len(s.split()) >= 6} for _, _, story in told
    ]
    rng = random.Random(0)
    pairs = [(rng.randrange(COUNT), rng.randrange(COUNT)) for _ in range(20000)]
    shared = sum(bool(sentences[a] & sentences[b]) for a, b in pairs if a != b)
    assert shared < len(pairs) / 20
    most = Counter(sentence for group in sentences for sentence in group).most_common(1)[0]
    assert most[1] < COUNT / 20, most


def test_no_two_stories_are_the_same(told: list[tuple[Brief, str, Story]]) -> None:
    assert len({story.text for _, _, story in told}) == COUNT


def test_what_is_held_out_stays_out(told: list[tuple[Brief, str, Story]]) -> None:
    assert not any(is_held_out(brief) for brief, _, _ in told)
    assert all(is_held_out(make_brief(random.Random(seed), held_out=True)) for seed in range(50))
