"""The split: what is for testing alone is never trained on."""

from __future__ import annotations

import numpy as np
import pytest

from reference.nano.text import text_tokenizer
from reference.nano.voices import VARIANTS
from reference.nano.words import DIGITS, WORDS, held_out_strings, is_held_out, training_texts


def test_no_training_text_says_a_test_string() -> None:
    held = set(held_out_strings())
    assert len(held) == 100
    texts = training_texts(6400, np.random.default_rng(3))
    assert all(set(zip(*(text[start:] for start in range(5)), strict=False)).isdisjoint(held) for text in texts)
    assert {word for text in texts for word in text} == set(WORDS)
    assert sum(set(text) <= set(DIGITS) for text in texts) > 4000


def test_a_test_string_is_found_within_a_longer_text() -> None:
    string = held_out_strings()[0]
    assert is_held_out(("hello", *string, "one"))
    assert not is_held_out(string[:4])


def test_no_held_out_variant_is_one_of_training() -> None:
    ways = [(one.voice, one.warp) for one in VARIANTS if one.held_out]
    assert len(VARIANTS) == 48
    assert len(set(VARIANTS)) == 45, "rms, whose pitch cannot be told, has three twice"
    assert len(ways) == 8
    assert not {(one.voice, one.warp) for one in VARIANTS if not one.held_out} & set(ways)


@pytest.mark.parametrize("form", ["{}", " {}", "{capital}"])
def test_a_word_is_one_id(form: str) -> None:
    tokenizer = text_tokenizer()
    forms = [form.format(word, capital=word.capitalize()) for word in WORDS]
    ids = [tokenizer.encode(text) for text in forms]
    assert [len(of_word) for of_word in ids] == [1] * len(WORDS)
    assert [tokenizer.decode(of_word) for of_word in ids] == forms
