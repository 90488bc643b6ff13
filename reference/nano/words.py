"""What is said: digit strings and short rows of other words, and which of them are for testing alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Forty others.
OTHERS = (
    *("hello", "yes", "no", "please", "good", "morning", "evening", "today", "tomorrow", "left", "right", "stop"),
    *("go", "open", "close", "red", "green", "blue", "white", "black", "north", "south", "east", "west", "water"),
    *("coffee", "music", "light", "door", "time", "home", "number", "call", "play", "start", "again", "thanks"),
    *("sorry", "ready", "friend"),
)
WORDS = (*DIGITS, *OTHERS)
#: How many phones `flite` says in each of them.
PHONES = dict(zip(WORDS, map(int, "43233345234324365464342443433443344463333533545445"), strict=True))

#: Held-out five-digit strings; and the shares of the lengths of a digit string, and of a row of any words.
TESTS = 100
DIGIT_LENGTHS = {2: 0.08, 3: 0.1, 4: 0.15, 5: 0.3, 6: 0.12, 8: 0.1, 10: 0.1, 12: 0.05}
ROW_LENGTHS = {1: 0.1, 2: 0.25, 3: 0.3, 4: 0.25, 5: 0.1}
#: How many texts are of digits alone.
DIGIT_SHARE = 0.7

SEED = 15


def held_out_strings() -> tuple[tuple[str, ...], ...]:
    """The five-digit strings that no training text contains, each another."""
    numbers = np.random.default_rng(SEED).choice(10**5, size=TESTS, replace=False)
    return tuple(tuple(DIGITS[int(digit)] for digit in f"{number:05d}") for number in numbers)


_HELD = frozenset(held_out_strings())


def is_held_out(words: Sequence[str]) -> bool:
    """Whether a test string is said somewhere in `words`."""
    return any(tuple(words[start : start + 5]) in _HELD for start in range(len(words) - 4))


def training_texts(count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """`count` rows of words without a test string."""
    texts: list[tuple[str, ...]] = []
    while len(texts) < count:
        digits = rng.random() < DIGIT_SHARE
        lengths, words = (DIGIT_LENGTHS, DIGITS) if digits else (ROW_LENGTHS, WORDS)
        length = rng.choice(list(lengths), p=list(lengths.values()))
        text = tuple(words[index] for index in rng.integers(len(words), size=int(length)))
        if not is_held_out(text):
            texts.append(text)
    return texts


def written(words: Iterable[str]) -> str:
    """As it is typed: "one two three"."""
    return " ".join(words)
