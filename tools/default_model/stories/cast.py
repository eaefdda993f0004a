"""The characters of a story, and how they are spoken of."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from .inflect import article
from .lexicon import Folk, lexicon, pick

__all__ = ["PRONOUNS", "Character", "choose_folk", "choose_name", "made_up_word"]

# he, him, his, himself, theirs, was, is, has, needs, pl (the ending of what each has one of), i
PRONOUNS = {
    "he": ("he", "him", "his", "himself", "his", "was", "is", "has", "needs", "", "I"),
    "she": ("she", "her", "her", "herself", "hers", "was", "is", "has", "needs", "", "I"),
    "it": ("it", "it", "its", "itself", "its", "was", "is", "has", "needs", "", "I"),
    "they": (
        "they",
        "them",
        "their",
        "themselves",
        "theirs",
        "were",
        "are",
        "have",
        "need",
        "s",
        "we",
    ),
}
FORMS = ("he", "him", "his", "himself", "theirs", "was", "is", "has", "needs", "pl", "i")


@dataclass
class Character:
    """Somebody in a story.

    noun: "fox"; adjective: a word or none before it; name: or None; pronoun: a key of PRONOUNS.
    introduced: whether the reader has met them; named: whether the reader knows the name.
    """

    noun: str
    pronoun: str
    name: str | None = None
    adjective: str = ""
    introduced: bool = False
    named: bool = False
    extra: dict[str, str] = field(default_factory=dict)

    def form(self, name: str) -> str:
        """A pronoun or a verb that agrees with it, by the masculine: "his", "was"."""
        return PRONOUNS[self.pronoun][FORMS.index(name)]

    def indefinite(self) -> str:
        """ "an old owl"; as it is for plurals and for somebody's somebody."""
        words = f"{self.adjective} {self.noun}".strip()
        if "'s " in words or "s' " in words:
            return f"the {words}"
        if words.startswith("family of "):
            return f"a {words}"
        if self.pronoun == "they":
            return words if words.split()[0] in _NUMBERS or words == "twins" else f"some {words}"
        return f"{article(words)} {words}"

    def called(self, rng: random.Random) -> str:
        """ "an old owl called Minna", or without a name "an old owl"."""
        if self.name is None:
            return self.indefinite()
        word = ("called", "named", "by the name of")[(rng.random() > 0.6) + (rng.random() > 0.92)]
        return f"{self.indefinite()} {word} {self.name}"

    def definite(self) -> str:
        """ "the owl"; of "three ducklings" and "a family of rabbits" only the noun is said again."""
        noun = self.noun.removeprefix("family of ")
        first, _, rest = noun.partition(" ")
        return f"the {rest if first in _NUMBERS else noun}"

    def possessive(self, reference: str) -> str:
        """ "Minna's", "the ducklings'"."""
        return reference + ("'" if self.pronoun == "they" and reference.endswith("s") else "'s")


_NUMBERS = frozenset(["two", "three", "four"])


def choose_name(rng: random.Random, pronoun: str, taken: frozenset[str] = frozenset()) -> str:
    """A name that goes with a pronoun; one in eight is made up from syllables."""
    while True:
        if rng.random() < 0.12:
            name = _made_up(rng)
        else:
            names = lexicon().names
            own = names.get(pronoun, ()) if rng.random() < 0.6 else ()
            name = pick(rng, own or names["any"])
        if name not in taken:
            return name


_ONSETS = "b d f g h j k l m n p r s t v w z br fl gr kl pl sn st tr tw".split()
_RHYMES = (
    "a e i o u ee oo all am an en il im in ol om on um ur ash ix obb ump inn elm andle".split()
)
_ENDS = (
    "o a y i el en is us ka lo mi na ni ra ri bo by do fin kin let lin ling ton ver wick".split()
)


# A letter three times, and what would sound rude.
_NO_WORD = re.compile(
    r"(.)\1\1|tit|cum|ass|dic|sex|poo|pee|bum|nig|fag|slut|twa[td]|pis|sh[ai]t|arse|hell|kill|rap[ei]"
)


def _made_up(rng: random.Random) -> str:
    return made_up_word(rng).capitalize()


def made_up_word(rng: random.Random) -> str:
    """A word that nobody has heard before: "grendle", "twimbo"."""
    while True:
        word = pick(rng, _ONSETS) + pick(rng, _RHYMES) + pick(rng, _ENDS)
        if len(word) >= 5 and not _NO_WORD.search(word):
            return word


def choose_folk(
    rng: random.Random,
    role: str,
    group: str,
    taken_nouns: set[str],
    taken_pronouns: set[str],
    many: bool = True,
) -> Character:
    """Somebody for a role ("friend", "young"...) whose noun and pronoun nobody else has.

    `many`: whether it may be several, "three ducklings".
    """
    table = lexicon().folk
    local = table.get((role, group), [])
    for attempt in range(400):
        if attempt == 200:  # three are on the stage already: the fourth shares a pronoun
            taken_pronouns = set()
        folk: Folk = pick(rng, local if local and rng.random() < 0.75 else table[role, "any"])
        head = folk.noun.split(" ")[-1].rstrip("s")
        if any(head in noun or noun in folk.noun for noun in taken_nouns):
            continue
        if folk.plural and not many:
            continue
        free = [pronoun for pronoun in folk.pronouns if pronoun not in taken_pronouns]
        if "it" in free and len(free) > 1 and role not in ("young",):
            free.remove("it")
        if free:
            return Character(folk.noun, pick(rng, free))
    raise RuntimeError(f"nobody is left for the role {role} in {group}")
