"""Documents to learn from: stories on request, talk about them, small tasks, and bare stories."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .arithmetic import sum_and_answer
from .brief import Brief, is_held_out, make_brief
from .cast import choose_name
from .grammar import Alternatives, parse
from .inflect import article, capitalise, mend_articles
from .lexicon import lexicon, pick
from .request import ask
from .story import Story, past_clause, tell

__all__ = ["Document", "Turn", "make_document"]

FOLDER = Path(__file__).parent / "talk"


class Turn(NamedTuple):
    """role: "user", "assistant", or "text" for a document that is no conversation."""

    role: str
    text: str


Document = tuple[Turn, ...]
Pair = tuple[str, str]

# Kinds of documents by their share in a hundred.
_SHARES = (
    ("story", 60), ("talk_about", 13), ("text", 6), ("go_on", 8), ("read", 3), ("chat", 4),
    ("arithmetic", 3), ("repeat", 2), ("facts", 1),
)  # fmt: skip
_KINDS = tuple(kind for kind, share in _SHARES for _ in range(share))


def make_document(rng: random.Random, held_out: bool = False) -> Document:
    """A random document. `held_out`: its stories hold pairs that are kept from training."""
    kind = pick(rng, _KINDS)
    if kind in ("chat", "arithmetic", "repeat", "facts"):
        return _MAKERS[kind](rng)
    brief = make_brief(rng, held_out)
    story = tell(rng, brief)
    if kind == "text":
        return (Turn("text", story.text),)
    if kind == "story":
        return _turns([(ask(rng, brief), story.text)])
    if kind == "talk_about":
        return _talk_about(rng, brief, story)
    if kind == "go_on":
        return _go_on(rng, story)
    return _read(rng, story)


def _turns(pairs: list[Pair]) -> Document:
    return tuple(
        turn for pair in pairs for turn in (Turn("user", pair[0]), Turn("assistant", pair[1]))
    )


def _talk_about(rng: random.Random, brief: Brief, story: Story) -> Document:
    """A story on request and up to four turns about it, sometimes with a second story."""
    pairs = [(ask(rng, brief), story.text)]
    if rng.random() < 0.1:
        pairs.insert(0, small_talk(rng, "hello"))
    for _ in range(1 + int(rng.random() * 3)):
        pair = _question(rng, brief, story)
        if pair not in pairs:
            pairs.append(pair)
    end = rng.random()
    if end < 0.15:
        pairs.append(small_talk(rng, "thanks"))
    elif end < 0.2:
        pairs.append(small_talk(rng, "bye"))
    elif end < 0.4 and len(story.text) < 1800:
        pairs.append(_another(rng, brief))
    return _turns(pairs)


def _question(rng: random.Random, brief: Brief, story: Story) -> Pair:
    kind = rng.random()
    if kind < 0.78:
        return story.fact(rng)
    if kind < 0.88:
        say = say_line(rng, "moral").replace("{name}", story.hero_name)
        answer = pick(rng, ("", "The story says that ", "I think it is this: ")) + story.moral + "."
        return say, capitalise(answer)
    if kind < 0.96:
        title = title_of(rng, brief, story)
        return say_line(rng, "title"), pick(
            rng, (f"{title}.", f'I would call it "{title}".', title)
        )
    return small_talk(rng, "true")


def _another(rng: random.Random, brief: Brief) -> Pair:
    """A second story: of anything, or of the same hero."""
    other = replace(make_brief(rng), length="short")
    if rng.random() < 0.5 and not is_held_out(brief):
        same = replace(
            other, hero=brief.hero, pronoun=brief.pronoun, name=brief.name, place=brief.place,
            place_article="", adjective="",
        )  # fmt: skip
        if is_held_out(same) or same.trait.kind == "pair" or brief.trait.kind == "pair":
            return say_line(rng, "more"), tell(rng, other).text
        who = brief.name or f"the {brief.hero.noun}"
        say = pick(rng, (
            f"Tell me another story about {who}.", f"Another story about {who}, please.",
            f"Now a new story about the same {brief.hero.noun}.", f"One more about {who}!",
        ))  # fmt: skip
        return say, tell(rng, same).text
    if rng.random() < 0.5:
        return ask(rng, other), tell(rng, other).text
    return say_line(rng, "more"), tell(rng, other).text


_SENTENCE_END = re.compile(r"(?<=[a-z][.?!])(?:\s+(?=[A-Z\"])|$)|(?<=[.?!]\")\s+(?=[A-Z])")


def _go_on(rng: random.Random, story: Story) -> Document:
    """The first sentences are given, the rest is the answer."""
    paragraphs = story.text.split("\n\n")
    ends = [match.start() for match in _SENTENCE_END.finditer(paragraphs[0])][:4]
    ends = [end for end in ends if end < len(story.text) - 200]
    if not ends or (len(paragraphs) > 3 and rng.random() < 0.3):
        cut = len("\n\n".join(paragraphs[: 1 + (rng.random() < 0.4)]))
    else:
        cut = pick(rng, ends)
    given, rest = story.text[:cut].strip(), story.text[cut:].strip()
    return _turns([(say_line(rng, "continue").replace("{text}", given), rest)])


def _read(rng: random.Random, story: Story) -> Document:
    question, answer = story.fact(rng)
    say = say_line(rng, "read").replace("{text}", story.text).replace("{question}", question)
    return _turns([(say, answer)])


def title_of(rng: random.Random, brief: Brief, story: Story) -> str:
    """A title with capitals: "The Fox Who Was Afraid of the Dark"."""
    noun = brief.hero.noun
    choices = [f"{story.hero_name} {brief.place.preposition} {brief.place.phrase}"]
    if brief.thing:
        choices += [
            f"{story.hero_name} and the {brief.thing.noun}",
            f"the {noun} and the {brief.thing.noun}",
        ]
    if brief.trait.family not in ("event", "deed"):
        choices += [f"the {noun} who {past_clause(rng, brief)}"]
    return _title_case(pick(rng, choices))


_SMALL_WORDS = frozenset("of the and a an in on at by to with near under for from as".split())


def _title_case(text: str) -> str:
    words = [word if word in _SMALL_WORDS else capitalise(word) for word in text.split()]
    return capitalise(" ".join(words))


def _chat(rng: random.Random) -> Document:
    """Small talk, sometimes as the way to a story."""
    topics = (
        "hello",
        "how",
        "who",
        "maker",
        "can",
        "thanks",
        "bye",
        "sad",
        "like",
        "other",
        "other",
        "joke",
    )
    first = pick(rng, topics)
    pairs = [small_talk(rng, first)]
    if first == "hello" and rng.random() < 0.5:
        pairs.append(small_talk(rng, pick(rng, ("how", "who", "can", "like"))))
    if first in ("hello", "how", "can", "sad", "other", "who") and rng.random() < 0.4:
        brief = make_brief(rng)
        pairs.append((ask(rng, brief), tell(rng, brief).text))
    return _turns(pairs)


def _arithmetic(rng: random.Random) -> Document:
    return _turns([sum_and_answer(rng) for _ in range(1 + int(rng.random() * 5))])


def _repeat(rng: random.Random) -> Document:
    """What is to be repeated: words of all kinds, so that copying is learned from it."""
    pairs = []
    for _ in range(1 + int(rng.random() * 3)):
        text = _copied_text(rng)
        pairs.append((say_line(rng, "repeat").replace("{text}", text), text))
    return _turns(pairs)


def _copied_text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        brief = make_brief(rng)
        sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", tell(rng, brief).text.split("\n\n")[0])
        return pick(rng, sentences).replace('"', "")
    words = [_any_word(rng) for _ in range(1 + int(rng.random() * 7))]
    if kind < 0.5:
        return ", ".join(words)
    text = " ".join(words)
    return capitalise(text) + "." if kind < 0.75 else text


def _any_word(rng: random.Random) -> str:
    kind = rng.random()
    words = lexicon()
    if kind < 0.2:
        return pick(rng, words.heroes).noun
    if kind < 0.4:
        return pick(rng, words.things).noun
    if kind < 0.55:
        return choose_name(rng, "he" if rng.random() < 0.5 else "she")
    if kind < 0.65:
        return str(int(rng.random() * 21))
    if kind < 0.85:
        return pick(rng, pick(rng, words.traits).text.split())
    letters = "bcdfghjklmnprstvwz", "aeiou"
    return "".join(pick(rng, letters[i % 2]) for i in range(2 + int(rng.random() * 6)))


def _facts(rng: random.Random) -> Document:
    return _turns([pick(rng, _small_facts())(rng) for _ in range(1 + int(rng.random() * 3))])


@cache
def _small_facts() -> tuple[object, ...]:
    """Makers of (question, answer) pairs from facts.txt."""
    makers: list[object] = []
    section = ""
    for line in (FOLDER / "facts.txt").read_text("utf-8").splitlines():
        if line.startswith("== "):
            section = line[3:]
        elif " = " in line and not line.startswith("# "):
            left, right = line.split(" = ")
            makers.append(_fact_maker(section, left, right))
    return tuple(makers)


def _fact_maker(section: str, left: str, right: str) -> object:
    def sounds(rng: random.Random) -> Pair:
        animal = f"{article(left)} {left}"
        say = pick(
            rng,
            (
                f"What does the {left} say?",
                f"What sound does {animal} make?",
                f"How does the {left} go?",
            ),
        )
        return say, f"The {left} says {right}."

    def opposites(rng: random.Random) -> Pair:
        a, b = (left, right) if rng.random() < 0.5 else (right, left)
        return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."

    def facts(rng: random.Random) -> Pair:
        return pick(rng, left.split(" / ")), right

    return {"sounds": sounds, "opposites": opposites, "facts": facts}[section]


@cache
def _talk() -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    section = ""
    for line in (FOLDER / "talk.txt").read_text("utf-8").splitlines():
        if line.startswith("== "):
            section = line[3:]
        elif line and not line.startswith("# "):
            rules.setdefault(section, []).append(line)
    return rules


def say_line(rng: random.Random, topic: str) -> str:
    """Something that the user says on a topic; {text} and its like are still in it."""
    return _fill(rng, pick(rng, _talk()[f"{topic}.say"]))


def small_talk(rng: random.Random, topic: str) -> Pair:
    """Something that the user says, and an answer."""
    say = say_line(rng, topic)
    if rng.random() < 0.25:
        say = say.lower().rstrip(".")
    return say, _fill(rng, pick(rng, _talk()[f"{topic}.reply"]))


def _fill(rng: random.Random, template: str) -> str:
    """A template with its alternatives drawn and {hero} filled in."""

    def draw(nodes: tuple[object, ...]) -> str:
        text = ""
        for node in nodes:
            if isinstance(node, str):
                text += node
            elif isinstance(node, Alternatives):
                text += draw(pick(rng, node.options))
        return text

    # references keep their braces: the parser would take them for those of a story
    kept = template.replace("{", "\x01").replace("}", "\x02")
    text = draw(parse(kept)).replace("\x01", "{").replace("\x02", "}")
    for slot in ("{hero}", "{hero2}"):
        while slot in text:
            text = text.replace(slot, pick(rng, lexicon().heroes).noun, 1)
    return mend_articles(re.sub(r" {2,}", " ", text)).strip()


_MAKERS = {"chat": _chat, "arithmetic": _arithmetic, "repeat": _repeat, "facts": _facts}
