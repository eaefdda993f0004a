"""How people ask for a story: a brief put into words, in many ways."""

from __future__ import annotations

import random

from .brief import Brief
from .inflect import article, capitalise, gerund, mend_articles, plural, present
from .lexicon import pick, trait_forms

__all__ = ["ask", "hero_phrase"]

_OPENERS = (
    "Tell me a {kind} about {hero}.",
    "Tell me a {kind} about {hero}.",
    "Tell me a {kind} about {hero}.",
    "Can you tell me a {kind} about {hero}?",
    "Could you tell me a {kind} about {hero}?",
    "Please tell me a {kind} about {hero}.",
    "Tell a {kind} about {hero}.",
    "Write a {kind} about {hero}.",
    "Write me a {kind} about {hero}.",
    "Please write a {kind} about {hero}.",
    "I would like a {kind} about {hero}.",
    "I want to hear a {kind} about {hero}.",
    "Make up a {kind} about {hero}.",
    "Do you know a {kind} about {hero}?",
    "A {kind} about {hero}, please.",
    "A {kind} about {hero}",
    "Invent a {kind} about {hero}.",
    "Give me a {kind} about {hero}.",
    "My daughter wants a {kind} about {hero}.",
    "My son would love a {kind} about {hero}.",
    "It is bedtime. Tell us a {kind} about {hero}.",
    "Let's hear a {kind} about {hero}!",
    "I need a {kind} about {hero}.",
    "Tell us a {kind} about {hero}, please.",
    "Hi! Can I have a {kind} about {hero}?",
    "How about a {kind} about {hero}?",
    "Once more, a {kind} about {hero}.",
    "Tell the story of {hero}.",
    "Tell me something about {hero}.",
)
_ANYTHING = (
    "Tell me a {kind}.", "Tell me a {kind}, please.", "Can you tell me a {kind}?", "A {kind}, please.",
    "I want to hear a {kind}.", "Write a {kind}.", "Do you know a {kind}?", "{kind}", "Please tell us a {kind}.",
    "Can I have a {kind}?", "Make up a {kind} for me.", "I can't sleep. Tell me a {kind}.",
)  # fmt: skip
_KINDS = ("story",) * 12 + (
    "tale", "bedtime story", "fairy tale", "little story", "children's story", "nice story",
    "good-night story", "new story", "funny story", "story for children",
)  # fmt: skip
_SHORT = ("short story", "short story", "very short story", "short tale", "quick story")
_LONG = ("long story", "long story", "long bedtime story", "longer story", "long tale")


def ask(rng: random.Random, brief: Brief) -> str:
    """A request for the story of a brief; it mentions what `brief.asked` names."""
    asked = brief.asked
    if "hero" not in asked and rng.random() < 0.9:
        named = brief.name if "name" in asked else None
        openers = _OPENERS if named else _ANYTHING
        opener = pick(rng, openers).format(kind=_kind(rng, brief), hero=named)
        return _rough(rng, " ".join([opener, *_extras(rng, brief)]))
    form = rng.random()
    if form < 0.05:
        return _rough(rng, _listed(rng, brief))
    if form < 0.1 and brief.trait.family == "event" and "trait" in asked:
        return _rough(rng, _plot_first(rng, brief))
    hero = hero_phrase(rng, brief, with_trait="trait" in asked)
    inline, after = "", []
    if "place" in asked:
        where = _where(brief)
        if rng.random() < 0.7:
            inline += rng_join(rng, (f" {where}", f" {where}", f" who lives {where}"), hero)
        else:
            after.append(pick(rng, (
                f"It should happen {where}.", f"The story takes place {where}.",
                f"It happens {where}.", f"Let it be set {where}.", f"Place: {where}.",
            )))  # fmt: skip
    if "object" in asked and not _says_object(brief):
        thing = brief.thing_phrase()
        if rng.random() < 0.65:
            inline += pick(rng, (f" and {thing}", f" with {thing}", f" with {thing} in it"))
        else:
            after.append(pick(rng, (
                f"There should be {thing} in it.", f"Please put {thing} in it.",
                f"{capitalise(thing)} should play a part.", f"It should have {thing} in it.",
                f"And use {thing}.",
            )))  # fmt: skip
    text = pick(rng, _OPENERS).format(kind=_kind(rng, brief), hero=hero + inline)
    if rng.random() < 0.1:
        after.append(
            pick(rng, ("Thank you!", "Please.", "It should end well.", "Make it a good one."))
        )
    return _rough(rng, " ".join([text, *after]))


def rng_join(rng: random.Random, choices: tuple[str, ...], hero: str) -> str:
    """One of the choices; a hero with a clause of its own gets no second one."""
    choice = pick(rng, choices)
    if choice.startswith(" who") and (" who " in hero or " that " in hero):
        return " and" + choice.removeprefix(" who") if "who lives" in choice else choice
    return choice


def hero_phrase(rng: random.Random, brief: Brief, with_trait: bool) -> str:
    """ "a shy fox", "a fox called Fenn who is afraid of the dark"."""
    kind = brief.trait.kind
    if kind == "pair":
        words = f"two {plural(brief.hero.noun)}"
        if "name" in brief.asked:
            words += f" called {brief.name} and {brief.other}"
        return words + (_pair_clause(rng, brief) if with_trait and rng.random() < 0.3 else "")
    adjectives = [brief.adjective] if brief.adjective else []
    clause = ""
    if with_trait:
        if brief.adjectival and rng.random() < 0.75:
            adjectives.insert(0, brief.trait.text)
            if rng.random() < 0.12:
                adjectives.insert(0, "very")
        else:
            clause = _clause(rng, brief)
    noun = " ".join([*adjectives, brief.hero.noun])
    words = f"{article(noun)} {noun}"
    if "name" in brief.asked and brief.name:
        words = pick(rng, (
            f"{words} called {brief.name}", f"{words} named {brief.name}", f"{words} called {brief.name}",
            f"{words} named {brief.name}", f"{brief.name} the {noun}", f"my {noun} {brief.name}",
        ))  # fmt: skip
    if kind == "friend" and brief.other and with_trait and rng.random() < 0.5:
        return f"{words} and {article(brief.other)} {brief.other}"
    return words + clause


def _pair_clause(rng: random.Random, brief: Brief) -> str:
    return pick(
        rng, (" who do everything together", " who are best friends", " and their adventure")
    )


def _clause(rng: random.Random, brief: Brief) -> str:
    """The trait as a clause in the present: " who is afraid of the dark"."""
    who = pick(rng, (" who", " who", " who", " that"))
    return f"{who} {pick(rng, _predicates(brief))}"


def _predicates(brief: Brief) -> tuple[str, ...]:
    family, kind, text = brief.trait.family, brief.trait.kind, brief.trait.text
    own = {"he": "his", "she": "her", "it": "its"}[brief.pronoun]
    text = text.replace("{his}", own)
    if family == "fear":
        return (
            f"is afraid of {text}", f"is afraid of {text}", f"is scared of {text}",
            f"is frightened of {text}", f"fears {text}", f"is terrified of {text}",
        )  # fmt: skip
    if family == "wish":
        return (
            f"wants to {text}", f"wants to {text}", f"wishes to {text}", f"would like to {text}",
            f"dreams of {gerund(text)}", f"longs to {text}", f"would love to {text}",
        )  # fmt: skip
    if family == "habit":
        plain = present(text)
        always = text.startswith(("always", "never"))
        return (plain,) if always else (plain, f"always {plain}", f"likes to {text}")
    if family == "love":
        return (f"loves {text}", f"likes {text}", f"is crazy about {text}")
    if family == "hate":
        return (f"hates {text}", f"does not like {text}", f"can't stand {text}", f"dislikes {text}")
    if family == "cannot":
        return (f"cannot {text}", f"can't {text}", f"is not able to {text}")
    if family == "lack":
        some = trait_forms(brief.trait).get("some", text).replace("{his}", own)
        return (f"has no {text}", f"does not have {some}", f"has no {text}")
    if family == "deed":
        return (
            present(text), present(text), f"decides to {text}", f"tries to {text}",
            f"wants to {text}", f"has to {text}", f"sets out to {text}",
        )  # fmt: skip
    if family == "event":
        event = brief.event_clause()
        return (event,)
    very = ("is very " if kind not in ("odd",) else "is ") + text
    return (*_STATES.get((family, kind), ()), f"is {text}", very, f"is always {text}")


_STATES = {
    ("state", "lonely"): ("has no friends", "is all alone", "feels lonely"),
    ("state", "sleepless"): ("cannot sleep", "can't fall asleep", "cannot sleep"),
    ("state", "hungry"): ("is always hungry", "has nothing to eat"),
    ("state", "small"): ("is too small", "is smaller than all the others"),
    ("state", "big"): ("is too big", "is bigger than all the others"),
    ("state", "bored"): ("has nothing to do", "is bored"),
    ("state", "sad"): ("feels sad", "is always sad"),
    ("state", "sleepy"): ("is always tired",),
    ("flaw", "greedy"): ("does not want to share", "never shares"),
    ("flaw", "fib"): ("tells lies", "does not tell the truth"),
    ("flaw", "forgetful"): ("forgets everything", "always forgets things"),
    ("flaw", "hasty"): ("cannot wait",),
    ("flaw", "lazy"): ("does not want to work",),
    ("flaw", "messy"): ("never tidies up",),
    ("flaw", "mischief"): ("plays tricks on everyone",),
    ("flaw", "worried"): ("worries about everything",),
    ("flaw", "clumsy"): ("drops everything",),
    ("flaw", "noisy"): ("makes too much noise", "talks too much"),
    ("virtue", "helpful"): ("helps everyone",),
    ("virtue", "honest"): ("always tells the truth",),
}


def _says_object(brief: Brief) -> bool:
    """Whether the trait's own clause names the object already."""
    return brief.trait.kind in ("find", "lose") and "trait" in brief.asked


def _where(brief: Brief) -> str:
    if brief.place_article:
        return f"{brief.place.preposition} {brief.place_article} {brief.place.noun}"
    return f"{brief.place.preposition} {brief.place.phrase}"


def _extras(rng: random.Random, brief: Brief) -> list[str]:
    extras = []
    if "place" in brief.asked:
        extras.append(f"It should happen {_where(brief)}.")
    if "object" in brief.asked and brief.thing:
        extras.append(f"There should be {brief.thing_phrase()} in it.")
    return extras


def _kind(rng: random.Random, brief: Brief) -> str:
    if "length" in brief.asked:
        return pick(rng, _SHORT if brief.length == "short" else _LONG)
    return pick(rng, _KINDS)


def _listed(rng: random.Random, brief: Brief) -> str:
    """Key words only: "Hero: a fox. Place: the mill." or "fox, mill, lantern"."""
    hero = hero_phrase(rng, brief, with_trait="trait" in brief.asked)
    parts = [hero]
    if "place" in brief.asked:
        parts.append(_where(brief))
    if "object" in brief.asked and not _says_object(brief):
        parts.append(brief.thing_phrase())
    if len(parts) > 1 and rng.random() < 0.5:
        labels = ["Hero"]
        labels += ["Place"] * ("place" in brief.asked)
        labels += ["Object"] * (len(parts) - len(labels))
        rows = [f"{label}: {part}" for label, part in zip(labels, parts, strict=True)]
        joint = pick(rng, (". ", "\n", "; ", ", "))
        return pick(rng, ("Write a story. ", "Story. ", "", "A story, please. ")) + joint.join(rows)
    return pick(rng, ("", "", "Story: ", "story about ")) + ", ".join(parts)


def _plot_first(rng: random.Random, brief: Brief) -> str:
    """ "A fox finds a red kite. Tell me the story."."""
    hero = hero_phrase(rng, brief, with_trait=False)
    if brief.trait.kind == "pair":
        return f"Tell me a story about {hero}."
    where = f" {_where(brief)}" if "place" in brief.asked else ""
    sentence = capitalise(f"{hero} {brief.event_clause()}{where}.")
    return sentence + pick(rng, (
        " Tell me the story.", " What happens then?", " Make a story of it.", " Tell me how it goes on.",
        " Write the story.",
    ))  # fmt: skip


def _rough(rng: random.Random, text: str) -> str:
    """People type as they like: without capitals, without the last stop."""
    text = mend_articles(text)
    chance = rng.random()
    if chance < 0.12:
        return text.lower().rstrip(".")
    if chance < 0.2:
        return text.rstrip(".")
    if chance < 0.23:
        return text.rstrip(".!?") + "!"
    return capitalise(text)
