"""The word tables of `words/`, read once: heroes, places, objects, traits, names, other folk."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from .inflect import article, gerund, past, plural

__all__ = ["Folk", "HeroClass", "HeroKind", "Place", "Thing", "Trait", "lexicon", "pick"]

WORDS = Path(__file__).parent / "words"
T = TypeVar("T")

# Folk whose sex the word itself tells; everyone else may be either.
_MALE = re.compile(
    r"\b(boy|man|king|prince|fisherman|postman|grandfather|rooster|ram|bull|gander|cockerel|son|"
    r"giant|nephew|ferryman|station master|hermit|sailor|pirate|butcher|bully|ogre|wizard)\b"
)
_FEMALE = re.compile(
    r"\b(girl|lady|woman|queen|mother|hen|grandmother|princess|mermaid|milkmaid|cow|wife|"
    r"daughter|hens|flower seller|housekeeper)\b"
)
# Animals and things may be "it" where "he" and "she" are taken; people may not.
_PERSON = re.compile(
    r"\b(boy|girl|man|woman|lady|king|queen|prince|princess|fisherman|postman|baker|tailor|keeper|"
    r"seller|clockmaker|librarian|driver|fiddler|teacher|caretaker|sweep|master|juggler|cook|"
    r"grandmother|grandfather|housekeeper|trader|painter|dwarf|miner|gnome|hermit|woodcutter|"
    r"gardener|wife|sailor|ferryman|mother|son|daughter|child|toddler|baby|neighbour|farmer|"
    r"milkmaid|beekeeper|mender|builder|diver|mayor|sweeper|greengrocer|innkeeper|miller|toymaker|"
    r"astronaut|captain|shepherd|potter|digger|cutter|picker|burner|shoemaker|guard|butcher|bully|"
    r"pirate|nephew|mermaid|witch|wizard)\b"
)
_SOLO_BABY = re.compile(r"^baby (?!$)")  # "baby owl" is an animal, "baby" a person


@dataclass(frozen=True)
class HeroClass:
    """How the heroes of a class move, what they hold things with and what they eat."""

    name: str
    went: tuple[str, ...]
    ran: tuple[str, ...]
    hands: str
    food: tuple[str, ...]


@dataclass(frozen=True)
class HeroKind:
    noun: str
    hero_class: str
    home: str
    pronoun: str | None


@dataclass(frozen=True)
class Place:
    """A place; `style` is "the", "" (no article) or "free" (the request may say "a")."""

    noun: str
    group: str
    preposition: str
    living: str
    style: str

    @property
    def phrase(self) -> str:
        return self.noun if self.style == "" else f"the {self.noun}"


@dataclass(frozen=True)
class Thing:
    """An object; `unit` is what a plural comes in: "pair", "bag"."""

    noun: str
    tags: frozenset[str]
    unit: str | None = None

    @property
    def phrase(self) -> str:
        """With its indefinite article."""
        if self.unit:
            return f"{article(self.unit)} {self.unit} of {self.noun}"
        return f"{article(self.noun)} {self.noun}"


@dataclass(frozen=True)
class Trait:
    """What is special about a hero: a family (fear, wish, flaw...), a kind and a text."""

    family: str
    kind: str
    text: str
    plural: bool = False
    mass: bool = False


@dataclass(frozen=True)
class Folk:
    """Somebody beside the hero."""

    noun: str
    plural: bool

    @property
    def pronouns(self) -> tuple[str, ...]:
        """Which pronouns fit, the usual ones first."""
        if self.plural:
            return ("they",)
        if _MALE.search(self.noun):
            return ("he",)
        if _FEMALE.search(self.noun):
            return ("she",)
        person = _PERSON.search(self.noun) and not _SOLO_BABY.match(self.noun)
        return ("he", "she") if person else ("he", "she", "it")


@dataclass
class Lexicon:
    classes: dict[str, HeroClass] = field(default_factory=dict)
    heroes: list[HeroKind] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    traits: list[Trait] = field(default_factory=list)
    traits_of: dict[str, list[Trait]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    folk: dict[tuple[str, str], list[Folk]] = field(default_factory=dict)
    troubles: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of the items; unlike choice(), the same in every version of Python."""
    return items[int(rng.random() * len(items))]


@cache
def lexicon() -> Lexicon:
    """All tables."""
    found = Lexicon()
    _read_heroes(found)
    _read_places(found)
    _read_things(found)
    _read_traits(found)
    for section, line in _sections("names.txt"):
        found.names.setdefault(section, []).extend(line.split())
    for section, line in _sections("folk.txt"):
        group, _, rest = line.partition(": ")
        found.folk[section, group] = [
            Folk(noun.rstrip("*"), noun.endswith("*")) for noun in rest.split("; ")
        ]
    for line in _lines("troubles.txt"):
        name, role, *groups = line.split()
        found.troubles[name] = role, frozenset(groups)
    for line in _lines("words.txt"):
        name, _, rest = line.partition(": ")
        found.words[f"w.{name}"] = rest.split("; ")
    return found


def _lines(name: str) -> Iterator[str]:
    for line in (WORDS / name).read_text("utf-8").splitlines():
        if line and not line.startswith("# "):
            yield line


def _sections(name: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in _lines(name):
        if line.startswith("== "):
            section = line[3:]
        else:
            yield section, line


def _read_heroes(found: Lexicon) -> None:
    forms: dict[str, dict[str, str]] = {}
    for section, line in _sections("heroes.txt"):
        key, _, rest = line.partition(": ")
        if key != "who":
            forms.setdefault(section, {})[key] = rest
            continue
        for entry in rest.split("; "):
            name, _, home = entry.partition("@")
            noun, _, pronoun = name.partition("/")
            found.heroes.append(HeroKind(noun, section, home, pronoun or None))
    for name, form in forms.items():
        went, ran, food = (tuple(form[key].split("; ")) for key in ("went", "ran", "food"))
        found.classes[name] = HeroClass(name, went, ran, form["hands"], food)


def _read_places(found: Lexicon) -> None:
    for group, line in _sections("places.txt"):
        preposition, _, rest = line.partition(": ")
        for entry in rest.split("; "):
            noun, _, living = entry.partition("/")
            style = {"!": "the", "-": ""}.get(noun[-1], "free")
            noun = noun.rstrip("!-")
            found.places.append(Place(noun, group, preposition, living or preposition, style))


def _read_things(found: Lexicon) -> None:
    tags: dict[str, set[str]] = {}
    units: dict[str, str] = {}
    for line in _lines("objects.txt"):
        tag, _, rest = line.partition(": ")
        for entry in rest.split("; "):
            noun, _, unit = entry.partition("*")
            tags.setdefault(noun, set()).add(tag)
            if unit:
                units[noun] = unit
    found.things = [Thing(noun, frozenset(t), units.get(noun)) for noun, t in tags.items()]


def _read_traits(found: Lexicon) -> None:
    for family, line in _sections("traits.txt"):
        kind, _, rest = line.partition(": ")
        for entry in rest.split("; "):
            text = entry.rstrip("+~")
            plural = entry.endswith("+")
            if family in ("love", "hate"):
                plural = text.endswith("s") and not text.endswith("ss")
            found.traits.append(Trait(family, kind, text, plural, entry.endswith("~")))
    for trait in found.traits:
        found.traits_of.setdefault(trait.family, []).append(trait)


_IRREGULAR = {"mice": "mouse", "geese": "goose", "wolves": "wolf", "teeth": "tooth"}


@cache
def _singulars() -> dict[str, str]:
    nouns = [hero.noun for hero in lexicon().heroes] + [thing.noun for thing in lexicon().things]
    return {plural(noun): noun for noun in nouns}


def singular(noun: str) -> str:
    """One of a plural: "spiders" to "spider"."""
    if noun in _singulars():
        return _singulars()[noun]
    *rest, last = noun.split(" ")
    last = _IRREGULAR.get(last) or re.sub(r"(?<=[sc]h|.x)es$|s$", "", last)
    if last.endswith("ie") and noun != "zombies":
        last = last[:-2] + "y"
    return " ".join([*rest, last])


def trait_forms(trait: Trait) -> dict[str, str]:
    """The forms of a trait's text that templates ask for: {x}, {x.it}, {x.ed}, {x.one}..."""
    text = trait.text
    forms = {
        "": text,
        "it": "them" if trait.plural else "it",
        "was": "were" if trait.plural else "was",
        "is": "are" if trait.plural else "is",
    }
    if trait.family in ("wish", "habit", "cannot", "event", "deed"):
        forms |= {"ed": past(text), "ing": gerund(text)}
    if trait.family == "fear":
        single = singular(text) if trait.plural else text
        forms["one"] = f"{article(single)} {single}" if trait.plural else text
        forms["theone"] = f"the {single}" if trait.plural else text
    if trait.family == "lack":
        bare = trait.plural or trait.mass
        forms["some"] = text if bare else f"{article(text)} {text}"
    return forms
