"""Text in pieces: made whole, cut into sentences, and normalized like the whole."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.text import TextNormalizer
from mlx_cosyvoice.text.arriving import FULL, MOST, REST, arriving_segments, from_the_first_word, whole_pieces
from mlx_cosyvoice.text.sentences import LONGEST, Sentences
from tests.support.process import ROOT

FAMILY, WAVE, FLAG = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44b\U0001f3fd", "\U0001f1e9\U0001f1ea"


def sentences(pieces: object) -> list[str]:
    cutter = Sentences()
    return [sentence for piece in pieces for sentence in cutter.push(piece)] + [cutter.finish()]  # type: ignore[attr-defined]


def segments(pieces: object, transcript: int = 0) -> list[str]:
    return list(arriving_segments(pieces, TextNormalizer(), transcript))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [
    "Hello there. |How are you? |Fine!",
    "It is 3.5 m, e.g. here, vs. Dr. Smith, approx. 4 or No. 5 here. |But I don't.",
    "J. K. Rowling wrote it. |Good.",
    'He said "Really?!" and left. |"Yes." |(She stayed.) |Next.',
    "At 5 p.m. we eat. |Wait... what? |Well... |I know. |See www.example.com/?a=b.c today.",
    "1. First\n|2. Second\n|Title\n|\n|Text.\n|",
    "It was a bright cold day in April, and the clocks were striking\nthirteen. |Winston",
    "Then. |It was a bright cold day in April, and\nthe clocks were striking thirteen. |Winston",
    "It was a bright cold day in April, and the clocks were striking\n|\n|Winston",
    "It was a bright cold day in April, and the clocks were striking\n|- thirteen",
    "It was a bright cold day in April, and it cost two pounds, said Dr.\nSmith then.\n|",
    "你好。|“再见！”|他说。|文件 a.txt 在3.5里？|好",
    f"Hi! |{FAMILY} there. |Yes.",
    "Yahoo!Answers?x=1 and a.b!c",
])  # fmt: skip
def test_where_sentences_end(text: str) -> None:
    expected = [part for part in text.split("|") if part]
    whole = "".join(expected)
    assert [part for part in sentences([whole]) if part] == expected
    assert sentences(whole) == sentences([whole])


SIGNS = st.text(
    st.sampled_from("ab Z19.!?,\n\t\u3002\uff1f\u597d\u201c\u201d\"'<>/*()[]\u2026\u00e9\u0301-" + WAVE), max_size=30
)
WORDS = st.sampled_from([
    "Dr. ", "e.g. ", "J. ", "No. 5 ", "</strong>", "[laughter]", "<|endofprompt|>", "hello ", "World. ", "1. ", "\n\n",
    "a line of text that is as long as one of a letter that was wrapped ", "." * 500, " " * 500, "\u5b57" * 170,
    "word " * 100, FAMILY, "etc. ", "Yes! ",
])  # fmt: skip
TEXTS = st.lists(st.one_of(SIGNS, WORDS), max_size=12).map("".join)


def cuts(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, places=st.lists(st.integers(0, 2000), max_size=8))
@example(text="Hi.</strong> Yes.", places=[6])
def test_sentences_do_not_depend_on_the_pieces(text: str, places: list[int]) -> None:
    whole = sentences([text])
    assert "".join(whole) == text
    assert all(len(sentence.encode()) <= LONGEST + 2000 for sentence in whole)
    assert sentences(text) == sentences(cuts(text, places)) == whole


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, places=st.lists(st.integers(0, 2000), max_size=8), transcript=st.integers(0, 90))
def test_the_same_text_gives_the_same_segments_however_it_is_cut(text: str, places: list[int], transcript: int) -> None:
    """Before normalization, which sees the segments only."""

    def given_out(pieces: object) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what looks like control tokens
            return list(arriving_segments(pieces, TextNormalizer(enabled=False), transcript))  # type: ignore[arg-type]

    whole = given_out([text])
    assert given_out(cuts(text, places)) == given_out(text) == whole


PROSE = [
    "On 3 May 2024 we paid $1,500 for 12 kg of apples. It was 3.5 % more than in 1999. Dr. Smith said 10:30 was fine. "
    "The 2nd of 3 tests took 45 minutes, e.g. because of rain. We won 21 games. Then 7 people left.",
    "Hello there. How are you? I am fine, thanks.",
    "2024\u5e745\u67083\u65e5\uff0c\u6211\u4eec\u82b1\u4e861500\u5143\u3002\u8fd9\u662f3.5%\u3002" * 5,
]


@pytest.mark.parametrize("text", PROSE)
def test_text_in_pieces_is_normalized_as_the_whole(text: str) -> None:
    whole = TextNormalizer()(text)
    assert " ".join("".join(whole).split()).replace(" ", "") == "".join(segments(text)).replace(" ", "")
    assert not any(character.isdigit() for segment in segments(text) for character in segment)


TABLE = [
    line.split("\t")[1].replace("\\n", "\n")
    for line in (ROOT / "tests" / "data" / "spoken_texts.tsv").read_text(encoding="utf-8").splitlines()[1:]
]
NO_LANGUAGE = ["7 + 8.", "12:30!"]
LEFT_OUT = [
    "\U0001f525\U0001f525", FAMILY, "\u2764\ufe0f ok.", "\u2192", ":-)", "\u200b", " \u200b\u2060 ", "\ufeff", "\u00ad",
    "**bold**", "__", "~~", "* ", "- item", "# Title", "> quote", "[a](b.c)", "`x`", "<b>hi</b>.", "<!-- c -->",
    "| a | b |", "&nbsp;&nbsp;x", "(\U0001f525)", "\U0001f525.", "\u2026\u2026", "...", "\u4f60\u597d\u3002",
    "\u3053\u3093\u306b\u3061\u306f\u3002", "e\u0301 a.",
]  # fmt: skip
BETWEEN = [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u200b\n"]


WIDE = "[\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]"


#: A sign that has a meaning where a line begins may have another one where a sentence does.
LINE_BEGINS = re.compile(r"\s*(?:[^\w\s]|\d+[.)] )")


def said(text: str) -> str:
    """`text` without full stops, which a segment has also where a line ends without one; blanks count between words."""
    text = re.sub('([!?\u2026:;,"\u201d)])', r"\1 ", re.sub("[.\u3002]|[\\W_]*$", " ", text))
    return " ".join(re.sub(f"(?<={WIDE})\\s+|\\s+(?={WIDE})", "", text).split())


@settings(max_examples=100)
@given(
    texts=st.lists(st.one_of(*map(st.sampled_from, (TABLE, NO_LANGUAGE, LEFT_OUT))), min_size=1, max_size=8),
    between=st.lists(st.sampled_from(BETWEEN), min_size=8, max_size=8),
    transcript=st.sampled_from([0, 30]),
)
@example(
    texts=["Q&A: 50% off @ 3 stores!!! \U0001f525\U0001f525", "**Note:** see step 2."],
    between=["\n\n"] * 8,
    transcript=0,
)
@example(texts=["\u00bfQu\u00e9 tal? Tengo 3 a\u00f1os. "], between=["\n\n"] * 8, transcript=0)
def test_any_mixture_is_normalized_as_the_whole(texts: list[str], between: list[str], transcript: int) -> None:
    """Of the texts that the normalizer is tried on, in several languages, of what says nothing about its own, and of
    what is left out."""
    text = "The beginning is English."
    for blank, following in zip(between, texts, strict=False):
        text += ("\n" if LINE_BEGINS.match(following) else blank) + following
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what looks like control tokens
        whole, together, pieces = TextNormalizer().whole(text), TextNormalizer()(text), segments([text], transcript)
    assert said(" ".join(pieces)) == said("".join(together))
    assert not re.search(r"^\s|\s$|\s\s", whole)
    assert not any(re.search(r"\s$|\s\s", segment) for segment in pieces)


def test_a_text_shorter_than_the_transcript_is_one_segment_like_the_whole() -> None:
    text = "Yes, of course. I have 3 of them, and you may take 2 tomorrow"
    assert segments(text, transcript=37) == segments([text]) == TextNormalizer()(text)
    assert segments(text, transcript=37) == ["Yes, of course. I have three of them, and you may take two tomorrow."]


def how_far(text: str, transcript: int = 0) -> list[int]:
    """How many characters were read when each segment came out."""
    read = 0

    def characters() -> Iterator[str]:
        nonlocal read
        for character in text:
            read += 1
            yield character

    return [read for _ in arriving_segments(characters(), TextNormalizer(), transcript)]


def test_the_first_segment_comes_soon_and_later_ones_are_longer() -> None:
    text = "This sentence has some fifty letters, or even more. " * 20
    lengths = [len(segment) for segment in segments(text)]
    places = how_far(text)
    assert lengths[0] <= 2 * 52
    assert places[0] <= lengths[0] + 24
    assert FULL <= lengths[2] <= MOST
    assert how_far(text, transcript=60)[0] >= 180


def test_a_line_is_not_kept_waiting() -> None:
    text = "The train to the city is late by about ten minutes today, sorry.\nNext"
    assert how_far(text) == [len(text) - 4, len(text)]


def test_a_lone_word_goes_with_what_came_before() -> None:
    text = "I have put all of it into the folder that you named, as you wished. Enjoy!"
    assert segments(text) == [text]


def test_text_without_an_end_is_given_out_too() -> None:
    text = "and then he said that she " * 100
    places = how_far(text)
    assert places[0] <= LONGEST + REST + 1
    assert " ".join(segments(text)).replace(".", "").split() == text.split()
    assert not any(",." in segment for segment in segments("one, two, three, " * 100 + "four"))


@pytest.mark.parametrize("text", ["", " \n ", "...", "***\n---\n", WAVE, "-" * 5000])
def test_nothing_to_say(text: str) -> None:
    assert segments(text) == []
    assert list(from_the_first_word(text)) == []


def test_what_says_nothing_stays_with_what_does() -> None:
    assert segments(["...", "\n", "Hello"]) == TextNormalizer()("...\nHello")
    assert "".join(from_the_first_word([*"*** ab", "c"])) == "*** abc"
    assert segments("-" * 5000 + "\nHello.")[-1].endswith("Hello.")


def test_without_normalization_the_text_stays_as_it_is() -> None:
    assert list(arriving_segments(["It is 3", " o'clock."], TextNormalizer(enabled=False))) == ["It is 3 o'clock."]


@pytest.mark.parametrize("sign", [FAMILY, WAVE, FLAG, "e\u0301", "[laughter]", "<strong>a</strong>", "\u2764\ufe0f"])
def test_what_belongs_together_is_joined(sign: str) -> None:
    text = f"So {sign} it is. "
    assert segments(text) == segments([text]) == TextNormalizer()(text)  # which leaves emoji out
    assert list(arriving_segments(text, TextNormalizer(enabled="off"))) == [text]


def halves(text: str) -> list[str]:
    """As JavaScript counts characters."""
    data = text.encode("utf-16-le")
    return [data[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(data), 2)]


def test_halves_of_surrogate_pairs_are_joined() -> None:
    text = f"Hi {WAVE}{FAMILY}!"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "".join(whole_pieces(halves(text))) == text
        assert "".join(whole_pieces(["".join(halves(text))])) == text
        assert list(whole_pieces(["a", None, "b", ""])) == ["a", "b"]


@pytest.mark.parametrize("pieces", [
    ["It is \ud83d", "3 o'clock. \udc4b And \ud83d"], ["\ud83d", "It is 3 o'clock.", " And"],
    ["It is 3 o\ufffd'clock. And"], ["It is 3 o'clock. And\ud83d"],
])  # fmt: skip
def test_what_cannot_be_read_gives_one_warning(pieces: list[str]) -> None:
    with pytest.warns(UserWarning, match="left out") as caught:
        text = "".join(whole_pieces(pieces))
    assert len(caught) == 1
    assert " ".join(text.split()) == "It is 3 o'clock. And"


@pytest.mark.parametrize("piece", [3, b"ab", ["a"]])
def test_pieces_must_be_texts(piece: object) -> None:
    with pytest.raises(TypeError, match=f"must give str, not {type(piece).__name__}"):
        list(whole_pieces(["a", piece]))


@pytest.mark.parametrize(
    "text", ["A line of text, then the next one. " * 300, "." + " " * 10_000, "!" * 10_000, "\u5b57" * 10_000]
)
def test_the_cost_does_not_grow(text: str) -> None:
    start = time.process_time()
    assert "".join(sentences(text)) == text
    assert time.process_time() - start < 10
    start = time.process_time()
    assert "".join(sentences([text * 50])) == text * 50
    assert time.process_time() - start < 10
