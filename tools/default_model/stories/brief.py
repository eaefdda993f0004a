"""What a story is about: the brief that a request states and a telling obeys."""

from __future__ import annotations

import random
from dataclasses import dataclass
from zlib import crc32

from .cast import choose_name, made_up_word
from .inflect import article, plural, present
from .lexicon import HeroKind, Place, Thing, Trait, lexicon, pick

__all__ = ["Brief", "is_held_out", "make_brief"]

HELD_OUT_OF = 16
"""One in so many pairs (hero and trait, hero and place, trait and object) is never trained on."""

ADJECTIVES = (
    "little small young old big brave grey red brown clever white black funny gentle".split()
)
THING_ADJECTIVES = (
    "old new red blue golden silver wooden tiny broken green yellow rusty magic beautiful shiny "
    "strange patched white black small big crooked"
).split()
LENGTHS = ("short", "mid", "mid", "mid", "mid", "mid", "mid", "long")

# Families of traits by how often they are asked for.
FAMILIES = (
    ("fear", 18), ("wish", 18), ("flaw", 14), ("virtue", 11), ("state", 9), ("habit", 8),
    ("love", 5), ("hate", 5), ("cannot", 5), ("lack", 5), ("event", 20), ("deed", 10),
)  # fmt: skip
_FAMILY_LIST = tuple(family for family, weight in FAMILIES for _ in range(weight))
# What only some classes of heroes can be said to lack, or be afraid of, or unable to do.
_LACKS_OF = {
    "wheels": {"machine"}, "shell": {"cold", "bug"}, "feathers": {"bird"},
    "wings": {"bird", "wing", "fairy"}, "horns": {"hoof", "fairy"}, "fur": {"paw"},
    "whiskers": {"paw"}, "stripes": {"paw", "hoof", "wing", "fish"}, "tail": {"paw", "hoof"},
    "spots": {"paw", "wing", "bug", "fish"}, "hair": {"child", "person"},
    "ears": {"paw", "hoof"}, "teeth": {"paw", "child", "person", "fairy"},
}  # fmt: skip
_NOT_FOR = {
    "fish": {("fear", "water"), ("wish", "fly")},
    "bird": {("fear", "height"), ("wish", "fly")},
    "wing": {("fear", "height"), ("wish", "fly")},
    "sky": {("fear", "height"), ("wish", "fly"), ("lack", "thing"), ("habit", "wear")},
    "machine": {("state", "hungry"), ("lack", "birthday")},
    "thing": {("state", "hungry"), ("wish", "grow")},
}
# Where a hero is at home unless the request says otherwise.
_HABITAT = {
    "fish": ("deep", "shore"), "machine": ("town", "garden", "house"), "thing": ("house", "town"),
    "child": ("town", "house", "garden", "shore", "wild", "snow"),
    "person": ("town", "house", "garden", "shore"), "sky": ("sky", "wild"),
    "paw": ("wild", "garden", "snow", "house", "dry", "cave"), "hoof": ("garden", "wild", "dry"),
    "bird": ("wild", "garden", "shore", "town"), "wing": ("garden", "wild", "house"),
    "bug": ("garden", "wild", "house"), "cold": ("wild", "garden", "shore", "dry"),
    "fairy": ("wild", "cave", "house", "snow", "sky"),
}  # fmt: skip
_NAMED_PLACES = (
    ("town", "village"), ("town", "town"), ("wild", "valley"), ("wild", "forest"), ("house", "castle"),
    ("snow", "kingdom"), ("garden", "gardens"), ("town", "city"),
)  # fmt: skip


@dataclass(frozen=True)
class Brief:
    """A story to be told. `asked` names the parts that the request mentions."""

    hero: HeroKind
    pronoun: str
    adjective: str
    name: str | None
    trait: Trait
    place: Place
    place_article: str
    thing: Thing | None
    thing_adjective: str
    other: str | None
    """The noun of a second character that the request names."""
    length: str
    asked: frozenset[str]

    @property
    def adjectival(self) -> bool:
        """Whether the trait is an adjective that can stand before the noun."""
        return self.trait.family in ("flaw", "virtue", "state") and " " not in self.trait.text

    def event_clause(self) -> str:
        """What the hero of an event does, in the present: "finds a red kite"."""
        kind, text = self.trait.kind, self.trait.text
        if kind in ("find", "lose"):
            assert self.thing is not None
            thing = self.thing_phrase()
            if kind == "lose":
                own = {"he": "his", "she": "her", "it": "its"}[self.pronoun]
                thing = f"{own} {thing.split(' ', 1)[1]}"
            return f"{present(kind)} {thing}"
        if kind == "friend" and self.other:
            return f"{present(text.split()[0])} friends with {self.other}"
        if kind == "help" and self.other:
            return f"{present(text.split()[0])} {self.other}"
        if text.startswith("cannot"):
            return text
        return present(text.replace(" and get ", " and +get "))

    def thing_phrase(self) -> str:
        """The object with its article: "a red kite"."""
        assert self.thing is not None
        if not self.thing_adjective:
            return self.thing.phrase
        noun = f"{self.thing_adjective} {self.thing.noun}"
        return Thing(noun, frozenset(), self.thing.unit).phrase


def is_held_out(brief: Brief) -> bool:
    """Whether the brief holds a pair that no text for training may hold."""
    pairs = [f"{brief.hero.noun}+{brief.trait.family} {brief.trait.text}"]
    pairs.append(f"{brief.hero.noun}@{brief.place.noun}")
    if brief.thing:
        pairs.append(f"{brief.trait.text}&{brief.thing.noun}")
        pairs.append(f"{brief.hero.noun}&{brief.thing.noun}")
    return any(crc32(pair.encode()) % HELD_OUT_OF == 0 for pair in pairs)


def make_brief(rng: random.Random, held_out: bool = False) -> Brief:
    """A random brief; with `held_out` one with a pair that is kept from training."""
    while True:
        brief = _draw(rng)
        if is_held_out(brief) == held_out:
            return brief


def _draw(rng: random.Random) -> Brief:
    hero = _hero(rng)
    trait = _trait_for(rng, hero)
    asked = {"hero"} if rng.random() > 0.06 else set()
    if asked and rng.random() < 0.72:
        asked.add("trait")
    if rng.random() < 0.36:
        asked.add("place")
    if rng.random() < 0.3:
        asked.add("object")
    place = _place_for(rng, hero, free="place" in asked and rng.random() < 0.5)
    if trait.family == "event":
        thing_chance = {"find": 1.0, "lose": 1.0}.get(trait.kind, 0.35)
    else:
        thing_chance = 0.45
    thing = None
    if "object" in asked or rng.random() < thing_chance:
        thing = _thing(rng)
    length = pick(rng, LENGTHS)
    if length != "mid" and rng.random() < 0.5:
        asked.add("length")
    if rng.random() < (0.2 if "hero" in asked else 0.5):
        asked.add("name")
    pronoun = hero.pronoun or _pronoun_for(rng, hero)
    other = _other(rng, hero, trait)
    name = _name(rng, pronoun, "name" in asked)
    if trait.kind == "pair":  # two heroes of a kind: he comes first, and both have names
        pronoun = "he"
        name = choose_name(rng, "he")
        other = choose_name(rng, "she", frozenset([name]))
    return Brief(
        hero=hero,
        pronoun=pronoun,
        adjective=pick(rng, ADJECTIVES) if rng.random() < 0.3 and " " not in hero.noun else "",
        name=name,
        trait=trait,
        place=place,
        place_article=_place_article(rng, place),
        thing=thing,
        thing_adjective=_thing_adjective(rng, thing),
        other=other,
        length=length,
        asked=frozenset(asked),
    )


def _hero(rng: random.Random) -> HeroKind:
    """A hero from the table; one in thirty is of a kind that nobody knows."""
    if rng.random() < 0.035:
        return HeroKind(made_up_word(rng), "fairy", "cave", None)
    return pick(rng, lexicon().heroes)


def _thing(rng: random.Random) -> Thing:
    if rng.random() < 0.02:
        return Thing(made_up_word(rng), frozenset(["plain"]))
    return pick(rng, lexicon().things)


def _living(rng: random.Random) -> HeroKind:
    """A hero that can be met: no thing and no machine."""
    while True:
        hero = pick(rng, lexicon().heroes)
        if hero.hero_class not in ("thing", "machine", "sky"):
            return hero


def _open_trait(rng: random.Random) -> Trait:
    """A trait with a noun from another table, so that anything can be feared, loved or wished."""
    thing = pick(rng, [thing for thing in lexicon().things if not thing.unit])
    hero = _living(rng)
    many = plural(thing.noun)
    kind = int(rng.random() * 9)
    if kind == 0:
        return Trait("fear", "creature", plural(hero.noun), plural=True)
    if kind == 1:
        return Trait("fear", "thing", many, plural=True)
    if kind in (2, 3):
        return Trait("love" if kind == 2 else "hate", "thing", many, plural=True)
    if kind == 4:
        return Trait("wish", "own", f"have {thing.phrase}")
    if kind == 5:
        return Trait("wish", "meet", f"meet {article(hero.noun)} {hero.noun}")
    if kind == 6:
        return Trait("habit", "collect", f"collect {many}")
    if kind == 7:
        return Trait("habit", "wear", f"always carry {thing.phrase}")
    return Trait("wish", "become", f"be {article(hero.noun)} {hero.noun}")


def _open_deed(rng: random.Random) -> Trait:
    """Something to do that is put together from the other tables."""
    thing = pick(rng, [thing for thing in lexicon().things if not thing.unit])
    hero, other = _living(rng), _living(rng)
    place = pick(rng, [place for place in lexicon().places if place.preposition == "in"])
    skills = [t.text for t in lexicon().traits_of["wish"] if t.kind == "skill"]
    a_hero, the_hero = f"{article(hero.noun)} {hero.noun}", f"the {hero.noun}"
    where = f"{place.preposition} {place.phrase}"
    text = pick(rng, (
        f"bring {thing.phrase} to {the_hero}", f"visit {a_hero} {where}", f"look for {thing.phrase}",
        f"teach {the_hero} to {pick(rng, skills)}", f"sell {plural(thing.noun)}", f"meet {a_hero}",
        f"give {thing.phrase} to {the_hero}", f"hide {thing.phrase} {where}", f"mend {thing.phrase}",
        f"invite {a_hero} to supper", f"find {a_hero} {where}", f"carry {thing.phrase} to {place.phrase}",
        f"spend a night {where}", f"make friends with {a_hero} and {article(other.noun)} {other.noun}",
        f"work {where}", f"buy {thing.phrase}", f"draw {a_hero}", f"travel to {place.phrase}",
        f"rescue {a_hero}", f"dance with {a_hero}", f"open a shop {where}", f"steal {thing.phrase}",
        f"become friends with {a_hero}", f"go to {place.phrase}", f"play with {thing.phrase}",
        f"make {thing.phrase}", f"wash {thing.phrase}", f"ride on {a_hero}", f"search {where}",
    ))  # fmt: skip
    return Trait("deed", "do", text)


def _trait_for(rng: random.Random, hero: HeroKind) -> Trait:
    while True:
        chance = rng.random()
        if chance < 0.16:
            trait = _open_trait(rng)
        elif chance < 0.22:
            trait = _open_deed(rng)
        else:
            trait = pick(rng, lexicon().traits_of[pick(rng, _FAMILY_LIST)])
        if trait.family == "event" and rng.random() < 0.5:  # kinds with few wordings count too
            kinds = sorted({other.kind for other in lexicon().traits_of["event"]})
            kind = pick(rng, kinds)
            trait = pick(rng, [o for o in lexicon().traits_of["event"] if o.kind == kind])
        if (trait.family, trait.kind) in _NOT_FOR.get(hero.hero_class, ()):
            continue
        if trait.family == "lack" and hero.hero_class not in _LACKS_OF.get(
            trait.text, {hero.hero_class}
        ):
            continue
        words = trait.text.split()
        names_hero = set(hero.noun.split()) & set(trait.text.replace("'s", "").split()) or any(
            word.rstrip("s") == hero.noun for word in words
        )
        if names_hero and trait.text != "its own shadow":
            continue
        if trait.kind != "pair" or hero.pronoun is None:
            return trait


def _place_for(rng: random.Random, hero: HeroKind, free: bool) -> Place:
    groups = _HABITAT[hero.hero_class]
    if rng.random() < 0.06 and hero.hero_class != "fish":  # a place with a name of its own
        group, kind = pick(rng, _NAMED_PLACES)
        return Place(f"the {kind} of {made_up_word(rng).capitalize()}", group, "in", "in", "")
    while True:
        place = pick(rng, lexicon().places)
        if free and hero.hero_class != "fish":
            if place.group != "deep" or rng.random() < 0.2:
                return place
        elif place.group in groups:
            return place


def _pronoun_for(rng: random.Random, hero: HeroKind) -> str:
    if hero.hero_class in ("machine", "thing", "sky") and rng.random() < 0.4:
        return "it"
    return "he" if rng.random() < 0.5 else "she"


def _name(rng: random.Random, pronoun: str, asked: bool) -> str | None:
    return choose_name(rng, pronoun) if asked or rng.random() < 0.72 else None


def _place_article(rng: random.Random, place: Place) -> str:
    free = place.style == "free" and "of" not in place.noun and "'s" not in place.noun
    return article(place.noun) if free and rng.random() < 0.3 else ""


def _thing_adjective(rng: random.Random, thing: Thing | None) -> str:
    if thing is None or rng.random() < 0.65 or " " in thing.noun:
        return ""
    return pick(rng, THING_ADJECTIVES)


def _other(rng: random.Random, hero: HeroKind, trait: Trait) -> str | None:
    """A second character for stories of friends and of helping: any hero can be one."""
    if trait.family != "event" or trait.kind not in ("friend", "help") or rng.random() < 0.25:
        return None
    while True:
        other = pick(rng, lexicon().heroes)
        if other.noun.split()[-1] == hero.noun.split()[-1] or other.hero_class in ("thing", "sky"):
            continue
        if other.hero_class != "machine" or trait.kind == "friend":
            return other.noun
