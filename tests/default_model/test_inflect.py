"""English inflection of the stories."""

import pytest
from stories.inflect import article, gerund, mend_articles, past, plural, present


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("owl", "an"),
        ("fox", "a"),
        ("hour", "an"),
        ("honest fox", "an"),
        ("unicorn", "a"),
        ("uncle", "an"),
        ("unimportant", "an"),
        ("umbrella", "an"),
        ("ukulele", "a"),
        ("one-eyed cat", "a"),
        ("ewe", "a"),
        ("useful key", "a"),
        ("Emil", "an"),
    ],
)
def test_article(word: str, expected: str) -> None:
    assert article(word) == expected


def test_articles_are_mended_in_a_text() -> None:
    text = 'A owl met an fox, a "old" friend and an unicorn. Plan a? An hour.'
    mended = 'An owl met a fox, an "old" friend and a unicorn. Plan a? An hour.'
    assert mend_articles(text) == mended


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("hum", ("hummed", "humming", "hums")),
        ("whistle", ("whistled", "whistling", "whistles")),
        ("carry a spoon", ("carried a spoon", "carrying a spoon", "carries a spoon")),
        ("listen", ("listened", "listening", "listens")),
        ("always ask why", ("always asked why", "always asking why", "always asks why")),
        ("wash", ("washed", "washing", "washes")),
        ("lie", ("lied", "lying", "lies")),
        ("go fishing", ("went fishing", "going fishing", "goes fishing")),
        ("fix", ("fixed", "fixing", "fixes")),
        ("play", ("played", "playing", "plays")),
        ("see the sea", ("saw the sea", "seeing the sea", "sees the sea")),
        ("be a pig", ("was a pig", "being a pig", "is a pig")),
        ("lose and +find", ("lost and found", "losing and finding", "loses and finds")),
    ],
)
def test_verbs(verb: str, forms: tuple[str, str, str]) -> None:
    assert (past(verb), gerund(verb), present(verb)) == forms


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("fox", "foxes"),
        ("field mouse", "field mice"),
        ("loaf of bread", "loaves of bread"),
        ("puppy", "puppies"),
        ("monkey", "monkeys"),
        ("sheep", "sheep"),
        ("snowman", "snowmen"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
