"""How text is cut into segments."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.text.split import LIMIT, WINDOW, bounded, parts, segments


def words(text: str) -> int:
    return len(text.split())


def chinese(text: str) -> list[str]:
    return list(segments([text], "zh", len))


def english(text: str) -> list[str]:
    return list(segments([text], "en", words))


def test_lengths() -> None:
    """A segment ends once it is over 60 and the next sentence would make it over 80; a short end joins."""
    assert chinese("\u4e00" * 59 + "\u3002" + "\u4e8c" * 59 + "\u3002") == [
        "\u4e00" * 59 + "\u3002" + "\u4e8c" * 59 + "\u3002"
    ]
    assert chinese("\u4e00" * 60 + "\u3002" + "\u4e8c" * 19) == ["\u4e00" * 60 + "\u3002", "\u4e8c" * 19 + "\u3002"]
    assert chinese("\u4e00" * 60 + "\u3002" + "\u4e8c" * 18) == ["\u4e00" * 60 + "\u3002" + "\u4e8c" * 18 + "\u3002"]
    assert len(chinese("\u4e00" * 69 + "\u3002" + "\u4e8c" * 10)) == 1
    assert chinese("\u4e00" * 79 + "\u3002" + "\u4e8c" * 10) == ["\u4e00" * 79 + "\u3002" + "\u4e8c" * 10 + "\u3002"]
    assert [words(segment) for segment in english(("a b c d. " * 40).strip())] == [80, 80]


def test_sentence_ends_and_quotes() -> None:
    assert english('He said "no!" Then') == ['He said "no!" Then.']
    assert english('Yes. He said "no" then.') == ['Yes. He said "no" then.']
    assert english("Well... what?!") == ["Well. what?"]
    assert english('Hm!?" no') == ['Hm!" no.']
    assert chinese("\u4f60\u3001\u6211") == ["\u4f60\u3001\u6211\u3002"]
    assert english("\u4f60\u3002\u6211") == ["\u4f60\u3002\u6211."]
    # Officially these two are an IndexError.
    assert english('."Go') == ['"Go.']
    assert english("") == []


@given(
    text=st.text('ab .,?!;:"\u201d\u3002\uff0c\u4f60\n', max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4)
)
@settings(max_examples=200, deadline=None)
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    for language in ("zh", "en"):
        assert list(segments(pieces, language, len)) == list(segments([text], language, len))


@pytest.mark.parametrize("text", [
    "a" * 5000, "word " * 1000, "\u4f60" * 5000, "\u4f60\u597d\uff0c" * 1000, "a, " * 2000, "x" * (LIMIT + 1),
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 300, "e\u0301" * 1000, "[laughter]" * 200, "a." * WINDOW,
])  # fmt: skip
def test_no_segment_is_over_the_limit(text: str) -> None:
    found = list(bounded(text, len))
    assert "".join(found) == text
    assert max(map(len, found)) <= LIMIT
    if len(text) < WINDOW:
        assert min(map(len, found)) >= LIMIT // 4  # no crumbs
    assert max(map(len, segments([text], "en", len)), default=0) <= LIMIT


def test_where_it_is_cut() -> None:
    assert next(bounded("w" * 130 + ", " + "w" * 10 + " " + "w" * 150, len)) == "w" * 130 + ","
    assert next(bounded("w" * 100 + " " + "w" * 150, len)) == "w" * 100 + " "
    assert next(bounded("w" * 100 + "1,000" + "w" * 150, len)) == ("w" * 100 + "1,000" + "w" * 150)[:128]
    for text in ("[laughter]" * 60, "a" + "<strong>" * 60, "ab[vocalized-noise]" * 40):
        assert all(
            part.count("[") + part.count("<") == part.count("]") + part.count(">") for part in bounded(text, len)
        )
    for family in ("\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd", "e\u0301"):
        assert all(not re.match("[\u200d\u0301\U0001f3fd]", part) for part in bounded(family * 300, len))


def test_what_fits_is_left_alone() -> None:
    text = "w, " * (LIMIT // 3)
    assert list(bounded(text, len)) == [text]
    assert list(bounded("", len)) == []


@given(text=st.text("ab .,\u3002\n\u200d[]", max_size=400), most=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_parts_are_the_text(text: str, most: int) -> None:
    found = list(parts(text, most))
    assert "".join(found) == text
    assert all(0 < len(part) <= most for part in found[:-1])


def test_segments_are_lazy() -> None:
    taken = []

    def pieces():  # type: ignore[no-untyped-def]
        for number in range(1000):
            taken.append(number)
            yield "\u4f60" * 79 + "\u3002"

    next(segments(pieces(), "zh", len))
    assert len(taken) <= 4
