"""Small changes of wording that leave the sense alone, so that few sentences occur twice."""

from __future__ import annotations

import random
import re

__all__ = ["vary"]

# Words that stand for each other wherever they occur in the grammar.
_SWAPS = {
    "nobody": "no one",
    "no one": "nobody",
    "everyone": "everybody",
    "everybody": "everyone",
    "someone": "somebody",
    "somebody": "someone",
    "began to": "started to",
    "suddenly": "all of a sudden",
    "from then on": "from that day on",
    "from now on": "from today on",
    "for a long time": "for a long while",
    "shouted": "called out",
    "in the end": "at last",
    "the whole day": "all day long",
    "all day long": "the whole day",
    "of course": "naturally",
    "not far away": "close by",
    "although": "though",
    "perhaps": "maybe",
    "once more": "once again",
    "again and again": "over and over",
    "very quiet": "quite silent",
    "every day": "day after day",
    "in the evening": "when evening came",
    "a great deal": "a lot",
}
# Full forms and their short ones; not before a stop, where the full form is stressed.
_SHORT = {
    "did not": "didn't", "could not": "couldn't", "was not": "wasn't", "had not": "hadn't",
    "would not": "wouldn't", "were not": "weren't", "do not": "don't", "does not": "doesn't",
    "is not": "isn't", "are not": "aren't", "cannot": "can't", "will not": "won't",
    "I am": "I'm", "I will": "I'll", "it is": "it's", "that is": "that's", "you are": "you're",
    "we are": "we're", "I have": "I've", "what is": "what's", "we will": "we'll",
}  # fmt: skip


def _pattern(words: dict[str, str], tail: str) -> re.Pattern[str]:
    spellings = sorted({w for word in words for w in (word, word[0].upper() + word[1:])}, key=len)
    return re.compile(r"\b(" + "|".join(reversed(spellings)) + r")\b" + tail)


_SWAPPED = _pattern(_SWAPS, "")
_SHORTENED = _pattern(_SHORT, r"(?= [a-z])")
# "it is" before a bare pronoun or at a question's end keeps its weight; so does "I have" + noun
_KEEP = re.compile(r"I have (?:a|an|the|my|two|three|no|some|seven|just|none|one|lived)\b")


def vary(text: str, rng: random.Random) -> str:
    """The text with some words exchanged; how many, and how short its forms, is drawn first."""
    swap = 0.6 * rng.random()
    shorten = max(0.0, 1.4 * rng.random() - 0.4)

    def swapped(match: re.Match[str]) -> str:
        if rng.random() >= swap:
            return match[1]
        word = match[1]
        lower = word[0].lower() + word[1:]
        new = _SWAPS[lower]
        return new[0].upper() + new[1:] if word[0].isupper() else new

    def shortened(match: re.Match[str]) -> str:
        word = match[1]
        if rng.random() >= shorten or _KEEP.match(text_now, match.start()):
            return word
        if word in _SHORT:
            return _SHORT[word]
        new = _SHORT[word[0].lower() + word[1:]]
        return new[0].upper() + new[1:]

    text_now = _SWAPPED.sub(swapped, text)
    if shorten > 0:
        text_now = _SHORTENED.sub(shortened, text_now)
    return text_now
