"""A story made from a brief."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from .brief import Brief
from .cast import Character, choose_name
from .grammar import Rule, grammar
from .inflect import gerund, past
from .lexicon import Thing, lexicon, pick, trait_forms
from .telling import Telling, polish
from .vary import vary

__all__ = ["Story", "tell"]

# Troubles that suit what is special about the hero; where nothing is said, all of them do.
_SUITABLE = {
    ("fear", "dark"): "astray lamp sick storm cold message thief",
    ("fear", "crowd"): "sad quarrel feast block storm thief",
    ("habit", "sing"): "astray lamp storm sad block feast",
    ("habit", "eat"): "hungry feast thief",
    ("habit", "walk"): "astray message sick losthing cross",
    ("habit", "laugh"): "sad quarrel block",
    ("habit", "tell"): "sad block sleepless quarrel storm",
    ("habit", "dig"): "hole cart drought broken cold locked cross",
    ("state", "small"): "hole locked net losthing broken astray message",
    ("state", "big"): "hole tree cross cart block storm cold",
    ("state", "sleepless"): "astray lamp thief sleepless storm",
    ("state", "hungry"): "astray sad locked thief storm hungry",
    ("virtue", "strong"): "hole cart cross tree block storm",
    ("virtue", "quick"): "message storm sick astray lamp",
    ("virtue", "brave"): "block astray storm lamp hole cross sick tree",
}
_BY_FAMILY = {
    "fear": "hole tree cross astray lamp storm sick message locked net losthing egg cold block",
}
# Who has lost or found something, where no trouble says who it is.
_ROLES_OF_EVENTS = {"lose": "young", "find": "grown", "race": "young"}
_NIGHTLY = {("fear", "dark"), ("state", "sleepless")}


@dataclass(frozen=True)
class Story:
    """A finished story: its text, questions about it with answers, and who is in it."""

    text: str
    raw_facts: tuple[tuple[str, str], ...]
    hero: Character
    hero_name: str
    """What the story calls the hero: the name, or "the fox"."""
    moral: str

    def fact(self, rng: random.Random) -> tuple[str, str]:
        """A question about the story, and its answer."""
        question, answer = pick(rng, self.raw_facts)
        return polish(question), polish(answer)


def tell(rng: random.Random, brief: Brief) -> Story:
    """A story that obeys the brief. The same generator state makes the same story."""
    hero = Character(brief.hero.noun, brief.pronoun, brief.name, brief.adjective)
    cast = {"h": hero}
    state = _state(rng, brief)
    if brief.trait.kind == "pair":
        state["pair"] = "1"
        cast["f"] = _twin(rng, brief)
    elif brief.other:
        letter = "f" if brief.trait.kind == "friend" else "e"
        cast[letter] = _other(rng, brief, letter)
    telling = Telling(
        rng=rng,
        state=state,
        cast=cast,
        hero_class=lexicon().classes[brief.hero.hero_class],
        home=brief.hero.home,
        place=brief.place,
        place_article=brief.place_article,
        thing=brief.thing,
        thing_adjective=brief.thing_adjective,
        forms=_forms(brief),
        trait_clause=past_clause(rng, brief),
        trait_adjective=brief.trait.text if brief.adjectival else "",
    )
    text = vary(telling.tell("story"), rng)
    known = hero.name is not None and hero.named
    name = hero.name if known and hero.name else hero.definite()
    facts = [*_basic_facts(rng, brief, hero, name), *telling.facts]
    moral = _moral(telling, text)
    return Story(text, tuple(facts), hero, name, moral)


def _moral(telling: Telling, text: str) -> str:
    """The moral that the story itself ends with, or else one that suits it."""
    told = text.lower()
    for line in grammar()["w.moral"]:
        if line.holds is not None and not line.holds(telling.state):
            continue
        words = "".join(node for node in line.nodes if isinstance(node, str))
        if words in told:
            return words
    moral = telling.aside("w.moral")
    return moral[0].lower() + moral[1:]


def past_clause(rng: random.Random, brief: Brief) -> str:
    """The trait as the story tells it: "was afraid of the dark", "wanted to fly"."""
    family, text = brief.trait.family, brief.trait.text
    very = pick(rng, ("", "", "very ", "terribly ", "rather "))
    more = pick(rng, ("", "", " more than anything", " one day"))
    choices = {
        "fear": (f"was {very}afraid of {text}", f"was afraid of {text}", f"was scared of {text}"),
        "wish": (f"wanted to {text}{more}", f"dreamed of {gerund(text)}", f"longed to {text}"),
        "habit": (past(text),),
        "love": (f"loved {text}", f"loved {text} more than anything"),
        "hate": (f"hated {text}", f"could not stand {text}"),
        "cannot": (f"could not {text}",),
        "lack": (f"had no {text}".replace("{his}", _own(brief)),),
        "event": ("",),
        "deed": (f"wanted to {text}",),
    }
    if family not in choices:
        very = very if brief.trait.kind not in ("odd", "poor") else ""
        return f"was {very}{text}"
    return pick(rng, choices[family])


def _own(brief: Brief) -> str:
    return {"he": "his", "she": "her", "it": "its"}[brief.pronoun]


def _forms(brief: Brief) -> dict[str, str]:
    forms = trait_forms(brief.trait)
    return {key: text.replace("{his}", _own(brief)) for key, text in forms.items()}


def _other(rng: random.Random, brief: Brief, letter: str) -> Character:
    """The second character of the request, with a pronoun of its own."""
    assert brief.other is not None
    natural = {hero.noun: hero.pronoun for hero in lexicon().heroes}[brief.other]
    free = [pronoun for pronoun in ("he", "she") if pronoun != brief.pronoun]
    pronoun = natural if natural in free else free[0] if natural is None else None
    if pronoun is None:  # both are "he", say: the other one is spoken of by name only
        pronoun = natural or "it"
    name = choose_name(rng, pronoun, frozenset([brief.name or ""]))
    return Character(brief.other, pronoun, name if letter == "f" and rng.random() < 0.7 else None)


def _twin(rng: random.Random, brief: Brief) -> Character:
    """The other one of two heroes of a kind."""
    assert brief.name is not None
    name = brief.other or choose_name(rng, "she", frozenset([brief.name]))
    return Character(brief.hero.noun, "she", name)


def _state(rng: random.Random, brief: Brief) -> dict[str, str]:
    trait = brief.trait
    state = {
        "fam": trait.family,
        trait.family: trait.kind,
        "p": brief.place.group,
        "h.class": brief.hero.hero_class,
        "len": brief.length,
    }
    if brief.thing:
        state["o"] = "1"
        state |= {f"o.{tag}": "1" for tag in brief.thing.tags}
        if brief.thing.unit:
            state["o.many"] = "1"
    if (trait.family, trait.kind) in _NIGHTLY:
        state["night"] = "1"
    trouble = _trouble(rng, brief)
    state["t"] = trouble
    state["role"] = _ROLES_OF_EVENTS.get(trait.kind, lexicon().troubles[trouble][0])
    state["x"] = trait.text.split()[-1]
    state["day"] = pick(rng, lexicon().words["w.day"])
    state["dish"] = pick(rng, lexicon().words["w.dish"])
    return state


@cache
def _tags_that_solve(trouble: str) -> frozenset[str]:
    """What objects must be good for to have a line of their own in the solving of a trouble."""
    tags = {tag for thing in lexicon().things for tag in thing.tags}
    lines = grammar()[f"{trouble}.solve"]
    specific = [line for line in lines if line.weight == 5.0]
    return frozenset(
        tag
        for tag in tags
        if any(line.holds and line.holds({"o": "1", f"o.{tag}": "1"}) for line in specific)
    )


def _trouble(rng: random.Random, brief: Brief) -> str:
    """A trouble for the place, the trait and the object."""
    troubles = lexicon().troubles
    local = [name for name, (_, groups) in troubles.items() if brief.place.group in groups]
    family, kind = brief.trait.family, brief.trait.kind
    suitable = _SUITABLE.get((family, kind), _BY_FAMILY.get(family, "")).split()
    fitting = [name for name in local if name in suitable] or local
    if brief.thing and rng.random() < 0.85:
        tags = brief.thing.tags
        fitting = [name for name in fitting if tags & _tags_that_solve(name)] or fitting
    return pick(rng, fitting)


def _basic_facts(
    rng: random.Random, brief: Brief, hero: Character, name: str
) -> list[tuple[str, str]]:
    """Questions that every story answers: who, what name, where."""
    he = hero.form("he")
    facts = [
        (
            pick(rng, ("Who is the story about?", "Who is the hero of the story?")),
            f"It is about {hero.called(rng) if hero.named else hero.indefinite()}.",
        ),
        (
            f"Where did {name} live?" if rng.random() < 0.5 else "Where does the story happen?",
            f"{brief.place.preposition.capitalize()} {brief.place.phrase}.",
        ),
    ]
    if hero.named and hero.name:
        facts.append(
            (f"What was the name of the {hero.noun}?", f"The {hero.noun} was called {name}.")
        )
        facts.append((f"What kind of creature was {name}?", f"{name} was {hero.indefinite()}."))
    clause = past_clause(rng, brief)
    if brief.trait.family in ("fear", "wish", "love", "hate", "lack", "cannot"):
        question = {
            "fear": f"What was {name} afraid of?",
            "wish": f"What did {name} want?",
            "love": f"What did {name} love?",
            "hate": f"What did {name} hate?",
            "lack": f"What did {name} not have?",
            "cannot": f"What could {name} not do?",
        }[brief.trait.family]
        facts.append((question, f"{he.capitalize()} {clause}."))
    if brief.thing:
        facts.append(("Which object is important in the story?", f"{_cap(brief.thing)}."))
    return facts


def _cap(thing: Thing) -> str:
    return thing.phrase[0].upper() + thing.phrase[1:]


def rules_in_use() -> set[str]:
    """The names of rules that others mention, for the check that all of them exist."""
    found: set[str] = set()

    def walk(nodes: tuple[object, ...]) -> None:
        for node in nodes:
            if isinstance(node, Rule):
                found.add(node.name)
            elif isinstance(node, tuple) and hasattr(node, "options"):
                for option in node.options:
                    walk(option)

    for lines in grammar().values():
        for line in lines:
            walk(line.nodes)
    return found
