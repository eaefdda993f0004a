"""English inflection, as far as the stories need it: articles, plurals, verbs, small numbers."""

from __future__ import annotations

import re

__all__ = [
    "article",
    "capitalise",
    "gerund",
    "mend_articles",
    "number_word",
    "past",
    "plural",
    "present",
]

# Spelt with a vowel but said with a consonant, and the other way round.
_CONSONANT_SOUND = re.compile(r"(?:uni(?!n|m)|use|usu|uku|eu|ew|one\b|once\b|ut(?:e|o))", re.I)
_VOWEL_SOUND = re.compile(r"(?:hour|honest|honour|heir)", re.I)

_PAST = {
    **{verb: verb for verb in "put cut let set hit shut read hurt spread".split()},
    "be": "was", "become": "became", "begin": "began", "bite": "bit", "blow": "blew",
    "break": "broke", "bring": "brought", "build": "built", "buy": "bought", "catch": "caught",
    "climb": "climbed", "come": "came", "creep": "crept", "dig": "dug", "do": "did",
    "draw": "drew", "dream": "dreamed", "drink": "drank", "drive": "drove", "eat": "ate",
    "fall": "fell", "feed": "fed", "feel": "felt", "fight": "fought", "find": "found",
    "fly": "flew", "forget": "forgot", "get": "got", "give": "gave", "go": "went", "grow": "grew",
    "have": "had", "hear": "heard", "hide": "hid", "hold": "held", "keep": "kept", "know": "knew",
    "leave": "left", "lie": "lied", "lose": "lost", "make": "made", "meet": "met", "ride": "rode",
    "ring": "rang", "rise": "rose", "run": "ran", "say": "said", "see": "saw", "sell": "sold",
    "send": "sent", "shake": "shook", "shine": "shone", "sing": "sang", "sit": "sat",
    "sleep": "slept", "slide": "slid", "speak": "spoke", "spend": "spent", "spin": "spun",
    "stand": "stood", "steal": "stole", "sweep": "swept", "swim": "swam", "swing": "swung",
    "take": "took", "teach": "taught", "tell": "told", "think": "thought", "throw": "threw",
    "wake": "woke", "wear": "wore", "win": "won", "write": "wrote",
}  # fmt: skip

# Verbs of more than one syllable whose last one is stressed double their consonant too.
_DOUBLES = re.compile(
    r"(?:[^aeiou]|^)[aeiou][bdgklmnprtvz]$|^(?:qui[tz]|forget|begin|admit)$", re.I
)
_NEVER_DOUBLE = frozenset(
    "listen open whisper wonder gather collect visit answer follow offer order water happen "
    "wander bother number remember discover deliver enter fasten colour chatter juggle garden "
    "paper polish hammer butter fidget gallop gossip grumble stutter mutter tidy".split()
)
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()


def article(phrase: str) -> str:
    """ "a" or "an", by the sound that a noun phrase begins with."""
    if _VOWEL_SOUND.match(phrase):
        return "an"
    if _CONSONANT_SOUND.match(phrase):
        return "a"
    return "an" if phrase[:1].lower() in "aeiou" else "a"


_ARTICLE = re.compile(r"\b([Aa])n? (?=([\"“]?)(\w[\w'-]*))")


def mend_articles(text: str) -> str:
    """The text with every "a" and "an" as the next word wants it."""

    def mend(match: re.Match[str]) -> str:
        return match[1] + article(match[3])[1:] + " "

    return _ARTICLE.sub(mend, text)


def capitalise(text: str) -> str:
    """The text with its first letter as a capital; quotation marks before it stay."""
    for index, letter in enumerate(text):
        if letter.isalnum():
            return text[:index] + letter.upper() + text[index + 1 :]
    return text


def _doubles(verb: str) -> bool:
    return verb not in _NEVER_DOUBLE and bool(_DOUBLES.search(verb)) and not verb.endswith("en")


def past(phrase: str) -> str:
    """The past tense of a verb phrase: "dig holes" to "dug holes"; joined verbs both change."""
    return _each_verb(phrase, _past_of)


def gerund(phrase: str) -> str:
    """The -ing form of a verb phrase."""
    return _each_verb(phrase, _gerund_of)


def present(phrase: str) -> str:
    """The third person singular of a verb phrase."""
    return _each_verb(phrase, _present_of)


def _each_verb(phrase: str, change: object) -> str:
    """Changes the first word, and a word behind " and " that is marked with a `+`."""
    assert callable(change)
    words = phrase.split(" ")
    adverb = words[0] in ("always", "never", "often") and len(words) > 1
    words[adverb] = change(words[adverb])
    return " ".join(change(word[1:]) if word.startswith("+") else word for word in words)


def _past_of(verb: str) -> str:
    if verb in _PAST:
        return _PAST[verb]
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return verb + verb[-1] * _doubles(verb) + "ed"


def _gerund_of(verb: str) -> str:
    if verb in ("lie", "die", "tie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")) and verb != "be":
        return verb[:-1] + "ing"
    doubles = _doubles(verb) or verb in ("forget", "begin")
    return verb + verb[-1] * doubles + "ing"


def _present_of(verb: str) -> str:
    if verb in ("have", "be"):
        return {"have": "has", "be": "is"}[verb]
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(?:s|x|z|ch|sh|o)$", verb) else "s")


_PLURALS = {
    "mouse": "mice", "goose": "geese", "wolf": "wolves", "calf": "calves", "ox": "oxen",
    "fish": "fish", "sheep": "sheep", "deer": "deer", "child": "children", "man": "men",
    "woman": "women", "thief": "thieves", "elf": "elves", "dwarf": "dwarfs", "goldfish": "goldfish",
    "salmon": "salmon", "trout": "trout", "moose": "moose", "bison": "bison", "squid": "squid",
    "leaf": "leaves", "woodlouse": "woodlice", "fisherman": "fishermen", "postman": "postmen",
    "snowman": "snowmen", "ferryman": "ferrymen", "sandman": "sandmen", "shrimp": "shrimps",
    "octopus": "octopuses", "rhino": "rhinos", "hippo": "hippos", "potato": "potatoes",
    "genie": "genies", "mosquito": "mosquitoes", "starfish": "starfish", "clownfish": "clownfish",
    "pufferfish": "pufferfish", "reindeer": "reindeer", "buffalo": "buffaloes", "knife": "knives",
    "loaf": "loaves", "scarf": "scarves", "tooth": "teeth", "foot": "feet", "dice": "dice",
    "tomato": "tomatoes", "penknife": "penknives", "handkerchief": "handkerchiefs",
    "anglerfish": "anglerfish", "catfish": "catfish", "cuttlefish": "cuttlefish", "carp": "carp",
    "halibut": "halibut", "swordfish": "swordfish", "chamois": "chamois", "gnu": "gnus",
    "thermos flask": "thermos flasks", "caveman": "cavemen", "fireman": "firemen", "elk": "elk",
    "policeman": "policemen", "watchman": "watchmen", "cod": "cod", "tuna": "tuna",
    "mackerel": "mackerel", "haddock": "haddock", "wolf cub": "wolf cubs", "mongoose": "mongooses",
}  # fmt: skip


def plural(noun: str) -> str:
    """More than one of a noun: "field mouse" to "field mice", "pot of jam" to "pots of jam"."""
    head, of, rest_of = noun.partition(" of ")
    if of:
        return plural(head) + of + rest_of
    *rest, last = noun.split(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "es" if re.search(r"(?:s|x|z|ch|sh)$", last) else "s"
    return " ".join([*rest, last])


def number_word(number: int) -> str:
    """A number from 0 to 20 in words."""
    return _NUMBERS[number]
