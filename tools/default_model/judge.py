"""Judges the model: 50 requests with combinations that training never saw, answered by smelt.

    python tools/default_model/judge.py [model.gguf] --out stories.md

Every story is checked for the hero, what else was asked for, names that nobody introduced, the
hero's pronoun and an ending. What a program cannot see, the stories in the output are for.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stories.brief import Brief, make_brief
from stories.lexicon import lexicon
from stories.request import ask

if TYPE_CHECKING:
    from smelt import Completion, Engine

__all__ = ["problems", "story_of"]

FOLDER = Path(__file__).parent / "stories"
_ACTING = {"he": {"he", "his", "himself"}, "she": {"she", "hers", "herself"}}
_CAPITALISED = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")
_INTRODUCED = (
    re.compile(r"(?:called|named|name of|village of|town of|city of|\w+ of) ([A-Z][a-z]+)"),
    re.compile(r"(?:called|named) [A-Z][a-z]+ and (?:the other )?([A-Z][a-z]+)"),
    re.compile(r"two [a-z -]+, ([A-Z][a-z]+) and [A-Z][a-z]+"),
    re.compile(r"two [a-z -]+, [A-Z][a-z]+ and ([A-Z][a-z]+)"),
    re.compile(r"(?:was called|the other|heard of) ([A-Z][a-z]+)"),
    re.compile(r"heard of [A-Z][a-z]+ and ([A-Z][a-z]+)"),
    re.compile(r"They called it ([A-Z][a-z]+)"),
)


@cache
def _always_capital() -> frozenset[str]:
    """Words that the grammar itself writes with a capital inside a sentence: days, months..."""
    words = {"I", "North", "South", "Pole", "Mars", "Christmas", "Siamese", "Yes", "No", "Five"}
    for path in FOLDER.rglob("*.txt"):
        if path.name != "names.txt":
            words.update(_CAPITALISED.findall(path.read_text("utf-8").replace("|", ", ")))
    days = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    months = "March April May June July September October November December".split()
    return frozenset(words | {*days, *(f"{day}s" for day in days), *months})


@cache
def _other_nouns() -> re.Pattern[str]:
    """Anybody whom a sentence may speak of beside the hero."""
    nouns = {hero.noun.split(" ")[-1] for hero in lexicon().heroes}
    nouns |= {folk.noun.split(" ")[-1] for table in lexicon().folk.values() for folk in table}
    nouns |= set(
        "mother father grandmother grandfather uncle aunt judge wizard witch miller".split()
    )
    return re.compile(r"\b(?:" + "|".join(sorted(nouns)) + r")s?\b")


def unknown_names(story: str, request: str = "") -> set[str]:
    """Names inside sentences that were never introduced."""
    known = {name for pattern in _INTRODUCED for name in pattern.findall(story)}
    known |= {word.capitalize() for word in re.findall(r"[A-Za-z]+", request)}
    outside = re.sub(r'"[^"]*"', '""', story)
    return set(_CAPITALISED.findall(outside)) - known - _always_capital()


def hero_name(story: str, noun: str) -> str | None:
    """The name that the story gives its hero, or None."""
    match = re.search(rf"\b{noun}(?: called| named| by the name of) ([A-Z][a-z]+)", story)
    return match[1] if match else None


def wrong_pronouns(story: str, noun: str) -> list[str]:
    """Sentences that begin with the hero, speak of nobody else and have the rarer pronoun.

    Only pronouns that stand for the one who acts are looked at: "told him" may be about a friend.
    """
    name = hero_name(story, noun) or f"the {noun}"
    outside = re.sub(r'"[^"]*"', '""', story)
    names = {n for pattern in _INTRODUCED for n in pattern.findall(story)} - {name}
    found: dict[str, list[str]] = {"he": [], "she": []}
    for sentence in re.split(r"(?<=[.?!])\s+", outside):
        start = next(
            (s for s in (name, f"The {noun}") if sentence.lower().startswith(s.lower())), ""
        )
        rest = sentence[len(start) :].replace(f"the {noun}", "").replace(name, "")
        if not start or any(n in rest for n in names) or _other_nouns().search(rest):
            continue
        words = set(re.findall(r"[a-z]+", rest))
        for kind, forms in _ACTING.items():
            if words & forms:
                found[kind].append(sentence)
    return min(found.values(), key=len)


def problems(story: str, brief: Brief, request: str) -> list[str]:
    """What is wrong with a story that answers a request, in words; empty if nothing is."""
    noun = brief.hero.noun
    found = []
    low = story.lower()
    heroes = ("two",) if brief.trait.kind == "pair" else (noun,)
    if "hero" in brief.asked and not any(hero.lower() in low for hero in heroes):
        found.append(f"no {noun}")
    if "name" in brief.asked and brief.name and brief.name not in story:
        found.append(f"no {brief.name}")
    if "place" in brief.asked and brief.place.noun.lower() not in low:
        found.append(f"not {brief.place.preposition} {brief.place.phrase}")
    if "object" in brief.asked and brief.thing and brief.thing.noun not in story:
        found.append(f"no {brief.thing.noun}")
    found += [f"unknown name {name}" for name in sorted(unknown_names(story, request))]
    if brief.trait.kind != "pair":
        found += [f"pronoun: {sentence}" for sentence in wrong_pronouns(story, noun)]
    if not re.search(r'[.?!]"?$', story) or story.count('"') % 2:
        found.append("no proper ending")
    if len(story) < 200:
        found.append("hardly a story")
    return found


def story_of(
    engine: Engine, seed: int, temperature: float = 0.7, top_p: float = 0.95
) -> tuple[Brief, str, Completion]:
    """A brief that is kept from training, the request for its story, and the answer."""
    rng = random.Random(seed)
    brief = make_brief(rng, held_out=True)
    request = ask(rng, brief)
    return brief, request, engine.chat(request, temperature=temperature, top_p=top_p, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help="default: the one that comes with smelt")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="a Markdown file for the stories")
    args = parser.parse_args()
    from smelt import Engine

    name = Path(args.model).name if args.model else "the model of smelt"
    lines = [f"# {args.count} stories of {name}, temperature {args.temperature}\n"]
    n_good = 0
    started = time.perf_counter()
    with Engine(args.model, device=args.device) as engine:
        for index in range(args.count):
            seed = args.seed * 1000 + index
            brief, request, completion = story_of(engine, seed, args.temperature, args.top_p)
            found = problems(completion.text, brief, request)
            if completion.finish_reason != "stop":
                found.append("it did not end")
            n_good += not found
            verdict = "; ".join(found) or "nothing found"
            lines.append(f"## {index + 1}. {request}\n\n{completion.text}\n\n*{verdict}*\n")
    seconds = time.perf_counter() - started
    summary = f"{n_good} of {args.count} stories without a finding, {seconds:.0f} s"
    print(summary)
    if args.out:
        args.out.write_text("\n".join([lines[0], summary + "\n", *lines[1:]]), "utf-8")


if __name__ == "__main__":
    main()
