"""Telling a story: a rule of the grammar expanded into text, with the references resolved.

References in templates, with `h` the hero, `f` a friend, `e` somebody in trouble, `b` somebody
big and angry, `r` a rival, `o` the object, `p` the place and `x` what is special about the hero:

    {h}             the name, or "the fox"; {h's} is possessive, {h.kind} the bare noun
    {s}, {f.s}      at the beginning of a sentence: the pronoun where it is clear who is meant
    {he} {f.his}... pronouns and verbs that agree (he him his himself was is has needs)
    {f.called}      introduces somebody: "an old owl called Minna"; {f.a} without the name
    {f.a2}          the same for answers, when they are known already; {r.the} is never the name
    {h.full}        introduces the hero with what is special: "a fox who was afraid of the dark"
    {o} {o.a} {o.it} {o.was}    "lantern", "a lantern", and agreeing words; {o.noun} may be the first
                    mention, as in "his {o.noun}"
    {p} {p.in} {p.live} {p.to}  "the mill", "in the mill", "near the mill", "to the mill"
    {x} {x.ed} {x.ing} {x.one}  the text of the trait and its forms
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from .cast import FORMS, Character, choose_folk, choose_name
from .grammar import Alternatives, Line, Mark, Node, Reference, Rule, grammar
from .inflect import capitalise, mend_articles, plural
from .lexicon import HeroClass, Place, Thing, pick

__all__ = ["Telling", "polish"]

# Troubles in which several can be, since they say nothing there.
_SILENT = frozenset(["cross", "storm", "block", "drought"])
_ROLES = {"f": "friend", "b": "big", "r": "rival"}
# Marks in the raw text, taken out by polish(): the next letter is a capital; a new paragraph.
_CAPITAL, _PARAGRAPH = "\x01", "\x02"


@dataclass
class Telling:
    """One story in the making.

    state: what conditions look at. cast: the characters by letter. facts: pairs of a question and
    its answer, both still to be polished, which few of them ever are.
    """

    rng: random.Random
    state: dict[str, str]
    cast: dict[str, Character]
    hero_class: HeroClass
    home: str
    place: Place
    place_article: str
    thing: Thing | None
    thing_adjective: str
    forms: dict[str, str]
    facts: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    trait_clause: str = ""
    trait_adjective: str = ""
    _used: set[int] = field(default_factory=set)
    _last: str = ""
    _pronouns: int = 0
    _answering: bool = False
    _place_told: bool = False

    def tell(self, rule: str) -> str:
        """The text of a rule, polished."""
        self._expand_rule(rule)
        return polish("".join(self.pieces))

    def aside(self, rule: str) -> str:
        """The text of a rule that is not part of the story itself, such as its moral."""
        start = len(self.pieces)
        self._answering = True
        self.pieces.append(_CAPITAL)
        self._expand_rule(rule)
        self._answering = False
        text = polish("".join(self.pieces[start:]))
        del self.pieces[start:]
        return text

    def _expand_rule(self, name: str) -> None:
        if "$" in name:
            name = re.sub(r"\$(\w+)", lambda match: self.state[match[1]], name)
        line = self._choose(name)
        is_word = name.startswith("w.")
        if not is_word:
            self.pieces.append(_CAPITAL)
        self._expand(line.nodes)
        if not is_word:
            self.pieces.append(" ")
        if line.questions and not self._answering:
            self._note(line)

    def _choose(self, name: str) -> Line:
        state, used = self.state, self._used
        holding = [line for line in grammar()[name] if line.holds is None or line.holds(state)]
        fitting = [line for line in holding if id(line) not in used] or holding
        if not fitting:
            raise LookupError(f"no line of rule {name} fits {self.state}")
        point = self.rng.random() * sum(line.weight for line in fitting)
        for line in fitting:
            point -= line.weight
            if point < 0:
                break
        if not name.startswith("w.") or name == "w.scene":
            self._used.add(id(line))
        return line

    def _note(self, line: Line) -> None:
        """Keeps the questions of a line that has just been told, with their answers."""
        self._answering = True
        for pair in line.questions:
            texts = []
            for nodes in pair:
                start = len(self.pieces)
                self.pieces.append(_CAPITAL)
                self._expand(nodes)
                texts.append("".join(self.pieces[start:]))
                del self.pieces[start:]
            self.facts.append((texts[0], texts[1]))
        self._answering = False

    def _expand(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if isinstance(node, str):
                self.pieces.append(node)
            elif isinstance(node, Rule):
                self._expand_rule(node.name)
            elif isinstance(node, Reference):
                text = self._refer(node.who, node.form)
                self.pieces.append(capitalise(text) if node.capital else text)
            elif isinstance(node, Alternatives):
                self._expand(pick(self.rng, node.options))
            elif isinstance(node, Mark):
                self.pieces.append(_CAPITAL if node.kind == "^" else _PARAGRAPH)
                if node.kind == "//":
                    self._last, self._pronouns = "", 0
            elif node.key != "noop":
                self.state[node.key] = node.value

    def _refer(self, who: str, form: str) -> str:
        if who == "o":
            return self._refer_thing(form)
        if who == "p":
            return self._refer_place(form)
        if who == "x":
            return self.forms[form]
        if who == "v":  # a word that was chosen once for the whole story
            return self.state[form]
        possessive = who.endswith("'s")
        key = who.removesuffix("'s")
        character = self._character("h" if key == "s" else key)
        if key == "s":
            form, key = "s", "h"
        text = self._refer_character(key, character, form)
        if not possessive:
            return text
        return character.form("his") if text == character.form("he") else character.possessive(text)

    def _refer_character(self, key: str, character: Character, form: str) -> str:
        if form in FORMS:
            return character.form(form)
        if form in ("", "s"):
            return self._mention(key, character, smart=form == "s")
        if form in ("a", "called", "full"):
            return self._introduce(key, character, form)
        if form == "a2":
            return character.called(self.rng) if character.named else character.indefinite()
        if form == "the":
            return character.definite()
        if form == "name":
            if self.state.get("event") == "pair" and key in "hf":
                character.introduced = character.named = True
                self.state[key] = "1"
            return character.name if character.named and character.name else character.noun
        if form == "plural":
            return plural(character.noun)
        if form == "trait":
            return self.trait_clause
        if form == "kind":
            return character.noun if key == "h" else character.indefinite()
        return self._of_class(form)

    def _of_class(self, form: str) -> str:
        if form in ("hands", "home"):
            return self.hero_class.hands if form == "hands" else self.home
        if form in ("went", "ran", "food"):
            return pick(self.rng, getattr(self.hero_class, form))
        raise LookupError(f"unknown form {form!r} of a character")

    def _character(self, key: str) -> Character:
        """The character of a letter, chosen when it is first spoken of."""
        if key not in self.cast:
            role = self.state.get("role", "young") if key == "e" else _ROLES[key]
            nouns = {character.noun for character in self.cast.values()}
            pronouns = {character.pronoun for character in self.cast.values()}
            many = self.state.get("t") in _SILENT  # others have lines that say "I"
            character = choose_folk(self.rng, role, self.state["p"], nouns, pronouns, many)
            if character.pronoun != "they" and key in "fr" and self.rng.random() < 0.7:
                names = frozenset(c.name for c in self.cast.values() if c.name)
                character.name = choose_name(self.rng, character.pronoun, names)
            self.cast[key] = character
        return self.cast[key]

    def _introduce(self, key: str, character: Character, form: str) -> str:
        if character.introduced:  # somebody known comes in again
            return self._mention(key, character, smart=False)
        character.introduced = True
        self.state[key] = "1"
        self._last, self._pronouns = key, 0
        if form == "a":
            return character.indefinite()
        character.named = character.name is not None
        if form == "full":
            return self._full(character)
        return character.called(self.rng)

    def _full(self, hero: Character) -> str:
        """The hero with what is special: an adjective before, or a clause behind."""
        if self.trait_adjective and self.rng.random() < 0.6:
            adjective, hero.adjective = hero.adjective, self.trait_adjective
            text = hero.called(self.rng)
            hero.adjective = adjective
            return text
        comma = "," if self.rng.random() < 0.2 and hero.name else ""
        return f"{hero.called(self.rng)}{comma} who {self.trait_clause}"

    def _mention(self, key: str, character: Character, smart: bool) -> str:
        """The name or the noun; with `smart` the pronoun where nobody else was spoken of since."""
        if not character.introduced:
            raise LookupError(f"{key} is spoken of before being introduced")
        if self._answering:
            return character.name if character.named and character.name else character.definite()
        most = 2 if character.pronoun == "it" else 4
        if smart and self._last == key and self._pronouns < most:
            self._pronouns += 1
            return character.form("he")
        known = character.named and character.name
        repeated = self._last == key
        self._last, self._pronouns = key, 0
        if known and (repeated or "pair" in self.state or self.rng.random() < 0.8):
            return known
        if known and key == "h" and character.adjective in ("little", "small", "young", "old"):
            return f"the {character.adjective} {character.noun}"
        return character.definite()

    def _refer_thing(self, form: str) -> str:
        assert self.thing is not None, "a template speaks of an object, but there is none"
        many = self.thing.unit is not None
        if form in ("it", "was", "is"):
            forms = {"it": ("it", "them"), "was": ("was", "were"), "is": ("is", "are")}
            return forms[form][many]
        if form == "they":
            return "they" if many else "it"
        noun = self.thing.noun
        if form == "noun":  # with a possessive before it that makes it known: "his lantern"
            self.state["o.told"] = "1"
            return noun
        if form == "":
            if "o.told" not in self.state and not self._answering:
                raise LookupError("the object is spoken of before being introduced")
            return noun
        assert form == "a", form
        adjective = self.thing_adjective
        told, self.state["o.told"] = "o.told" in self.state, "1"
        if told or not adjective:
            return self.thing.phrase
        return Thing(f"{adjective} {noun}", frozenset(), self.thing.unit).phrase

    def _refer_place(self, form: str) -> str:
        place = self.place
        if form == "":
            self._place_told = True
            return place.phrase
        words = place.phrase
        if not self._place_told and not self._answering:
            self._place_told = True
            if self.place_article:
                words = f"{self.place_article} {place.noun}"
        if form == "to":
            return f"to {place.phrase}"
        return f"{place.living if form == 'live' else place.preposition} {words}"


_SPACES = re.compile(r" {2,}")
_BEFORE_STOP = re.compile(r" +([,.;:?!])")
_SENTENCE = re.compile(r"([.?!]|[.]\"|[.]\') ([a-z])")
# Two marks where quotation marks took in a sentence that brought its own.
_TWO_STOPS = re.compile(r"([?!])[.,!]+(?=\")")
# After a question or a call comes either who spoke, or a new sentence.
_AFTER_CALL = re.compile(r"(?<=[?!]\" )([a-z])(?=([^.!?\"]*))")
_SPEECH = re.compile(
    r"(?:said|asked|cried|called|shouted|whispered|squeaked|laughed|thundered|roared|muttered|"
    r"howled|croaked|wailed|sighed|growled|answered|begged|beg|murmured|came a|read|says|asks|was the|thought)\b"
)
_MARKED = re.compile(f"{_CAPITAL}+([^A-Za-z0-9{_PARAGRAPH}]*)([A-Za-z0-9])")


def _new_sentence(match: re.Match[str]) -> str:
    first_words = " ".join((match[1] + match[2]).split()[:4])
    return match[1] if _SPEECH.search(first_words) else match[1].upper()


def polish(raw: str) -> str:
    """Raw text with its marks carried out: capitals, articles, spaces, paragraphs."""
    text = _MARKED.sub(lambda match: match[1] + match[2].upper(), raw).replace(_CAPITAL, "")
    text = _SPACES.sub(" ", text)
    text = _BEFORE_STOP.sub(r"\1", text)
    text = _TWO_STOPS.sub(r"\1", text)
    text = _AFTER_CALL.sub(_new_sentence, text)
    # a sentence begins with a capital, but for what follows a question or a call in quotation marks
    text = _SENTENCE.sub(lambda match: f"{match[1]} {match[2].upper()}", text)
    text = mend_articles(text)
    paragraphs = (part.strip() for part in text.split(_PARAGRAPH))
    return "\n\n".join(part for part in paragraphs if part)
