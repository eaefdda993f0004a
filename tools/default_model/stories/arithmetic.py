"""Sums and counting up to twenty, as questions with answers."""

from __future__ import annotations

import random

from .inflect import article, number_word, plural
from .lexicon import pick

__all__ = ["sum_and_answer"]

_COUNTED = (
    "apple nut button star fish carrot cake hat egg feather pebble pear bean shell key".split()
)
_ANIMALS = (
    "fox bear mouse hen goat rabbit cat squirrel duck hedgehog frog owl dog mole crow".split()
)


def sum_and_answer(rng: random.Random) -> tuple[str, str]:
    """A small sum, a question about numbers or a story of apples, and its answer."""
    makers = (_plain, _plain, _plain, _words, _tale, _tale, _compare, _next, _count)
    return pick(rng, makers)(rng)


def _operands(rng: random.Random) -> tuple[int, str, int, int]:
    """(a, "+" or "-", b, result), everything from 0 to 20."""
    if rng.random() < 0.55:
        result = int(rng.random() * 21)
        a = int(rng.random() * (result + 1))
        return a, "+", result - a, result
    a = int(rng.random() * 21)
    b = int(rng.random() * (a + 1))
    return a, "-", b, a - b


def _plain(rng: random.Random) -> tuple[str, str]:
    a, sign, b, result = _operands(rng)
    term = f"{a} {sign} {b}" if rng.random() < 0.8 else f"{a}{sign}{b}"
    question = pick(rng, (
        f"What is {term}?", f"{term} =", f"{term}", f"How much is {term}?", f"{term}?", f"{term} = ?",
        f"Can you tell me what {term} is?", f"Work out {term}.",
    ))  # fmt: skip
    return question, f"{a} {sign} {b} = {result}."


def _words(rng: random.Random) -> tuple[str, str]:
    a, sign, b, result = _operands(rng)
    word = "plus" if sign == "+" else "minus"
    term = f"{number_word(a)} {word} {number_word(b)}"
    if rng.random() < 0.4:
        question = f"What is {a} {word} {b}?"
        return question, f"{a} {word} {b} is {result}."
    question = pick(rng, (f"What is {term}?", f"How much is {term}?", f"{term.capitalize()}?"))
    return question, f"{term.capitalize()} is {number_word(result)}."


def _tale(rng: random.Random) -> tuple[str, str]:
    a, sign, b, result = _operands(rng)
    animal, thing = pick(rng, _ANIMALS), pick(rng, _COUNTED)
    many = f"{a} {thing if a == 1 else plural(thing)}"
    who = f"{article(animal).capitalize()} {animal}"
    happens = (
        ("finds", "gets", "buys", "is given")
        if sign == "+"
        else ("eats", "loses", "gives away", "drops")
    )
    then = f"{pick(rng, happens)} {b}" + (" more" if sign == "+" else "")
    now = f"{result} {thing if result == 1 else plural(thing)}" if result else f"no {plural(thing)}"
    question = f"{who} has {many} and {then}. How many {plural(thing)} does the {animal} have now?"
    return question, f"{a} {sign} {b} = {result}. The {animal} has {now} now."


def _compare(rng: random.Random) -> tuple[str, str]:
    a, b = int(rng.random() * 21), int(rng.random() * 21)
    if a == b:
        b = (a + 1) % 21
    more = rng.random() < 0.5
    word = "more" if more else "less"
    answer = max(a, b) if more else min(a, b)
    other = a + b - answer
    return f"Which is {word}, {a} or {b}?", f"{answer} is {word} than {other}."


def _next(rng: random.Random) -> tuple[str, str]:
    number = 1 + int(rng.random() * 19)
    if rng.random() < 0.5:
        return f"Which number comes after {number}?", f"After {number} comes {number + 1}."
    return f"Which number comes before {number}?", f"Before {number} comes {number - 1}."


def _count(rng: random.Random) -> tuple[str, str]:
    first = 1 if rng.random() < 0.6 else 1 + int(rng.random() * 9)
    last = min(20, first + 2 + int(rng.random() * 10))
    numbers = list(range(first, last + 1))
    if rng.random() < 0.25:
        return f"Count backwards from {last} to {first}.", ", ".join(map(str, numbers[::-1])) + "."
    start = "" if first == 1 and rng.random() < 0.7 else f" from {first}"
    return f"Count{start} to {last}.", ", ".join(map(str, numbers)) + "."
