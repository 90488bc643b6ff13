"""Texts of many scripts to try tokenizers on: made up, but always the same ones."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from random import Random

#: First and last character of blocks that had their letters in Unicode 3.2, which every library knows.
SCRIPTS = (
    (0x21, 0x7E),  # ASCII
    (0x41, 0x7A),
    (0xA1, 0x24F),  # Latin with accents
    (0x300, 0x345),  # combining marks
    (0x370, 0x3FF),  # Greek
    (0x400, 0x4FF),  # Cyrillic
    (0x531, 0x5F4),  # Armenian and Hebrew
    (0x60C, 0x6F9),  # Arabic
    (0x901, 0x970),  # Devanagari
    (0xE01, 0xE5B),  # Thai
    (0x10A0, 0x10FB),  # Georgian
    (0x1100, 0x11F9),  # Hangul in parts
    (0x1E00, 0x1FFE),  # Latin and Greek with several accents
    (0x2010, 0x214B),  # punctuation, superscripts, currencies
    (0x2190, 0x2BFF),  # arrows, mathematics, boxes
    (0x3001, 0x30FE),  # Japanese syllables
    (0x4E00, 0x9FA5),  # Chinese characters
    (0xAC00, 0xD7A3),  # Hangul
    (0xF900, 0xFA2D),  # Chinese characters that NFC replaces
    (0xFB00, 0xFB4F),  # ligatures
    (0xFF01, 0xFFEE),  # full and half width
    (0x1D400, 0x1D7FF),  # letters of mathematics
    (0x20000, 0x2A6D6),  # rare Chinese characters
)
BETWEEN = (
    *(" ", " ", " ", "", "  ", "   ", "\n", "\n\n", " \n ", "\r\n", "\t", "\u3000", "\u00a0"),
    *(", ", ". ", "\u3002", "-", "..."),
)
WORDS = (
    *("It's", "we'LL", "I'm", "they'd", "don't", "you've", "'re"),
    *("3.14", "42,000", "1e-6", "2024-11-29", "50%", "$7", "\u00bd"),
)
EMOJI = (
    *("\U0001f600", "\u2764\ufe0f", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd"),
    "\u2603",
)


def made_up_texts(count: int, tokens: Sequence[str], vocabulary: Sequence[str], seed: int = 0) -> Iterator[str]:
    """`count` texts. In one of three a special token stands; half of the words are out of the vocabulary.

    Args:
        count: how many.
        tokens: special ones.
        vocabulary: words as a tokenizer has them, spaces included.
        seed: other seeds give other texts.
    """
    random = Random(seed)
    for _ in range(count):
        words = [_word(random, vocabulary) for _ in range(random.randint(1, 12))]
        if random.random() < 1 / 3:
            words.insert(random.randint(0, len(words)), random.choice(tokens))
        yield "".join(word + random.choice(BETWEEN) for word in words)


def _word(random: Random, vocabulary: Sequence[str]) -> str:
    kind = random.random()
    if kind < 0.5:
        return random.choice(vocabulary)
    if kind < 0.6:
        return random.choice((*WORDS, *EMOJI))
    first, last = random.choice(SCRIPTS)
    drawn = (chr(random.randint(first, last)) for _ in range(random.randint(1, 8)))
    return "".join(character for character in drawn if unicodedata.ucd_3_2_0.category(character) != "Cn")
