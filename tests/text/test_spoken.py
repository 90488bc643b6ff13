"""What is said for a text: a table of texts and what people would say, and rules that hold for all texts."""

from __future__ import annotations

import re
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.text import TextNormalizer
from mlx_cosyvoice.text.clean import is_speakable
from mlx_cosyvoice.text.spoken import detect
from tests.data.make_text_ids import FRAGMENTS
from tests.support.process import ROOT

#: Written down from what people would say, before the code was tried on them.
TABLE = [
    line.split("\t")
    for line in (ROOT / "tests" / "data" / "spoken_texts.tsv").read_text(encoding="utf-8").splitlines()[1:]
]

#: Scripts in which blanks between words make no difference to what is heard.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@pytest.fixture(scope="module")
def normalizer() -> TextNormalizer:
    return TextNormalizer()


def heard(text: str) -> str:
    """The words of `text` and where sentences end; "and" within an English number makes no difference."""
    text = re.sub("['\u2019]", "", text.casefold())
    text = re.sub(r"\b(hundred|thousand|million) and\b", r"\1", text)
    text = re.sub("[.!?\u3002\uff01\uff1f]+\\W*", " . ", text)
    words = re.sub(r"[^\w.]+|_+", " ", text).strip(" .")
    return words.replace(" ", "") if _UNSPACED.search(words) else re.sub(" +", " ", words)


@pytest.mark.parametrize(("kind", "text", "wanted"), TABLE, ids=[f"{kind}-{n}" for n, (kind, *_) in enumerate(TABLE)])
def test_what_people_would_say(normalizer: TextNormalizer, kind: str, text: str, wanted: str) -> None:
    spoken = " ".join(normalizer(text.replace("\\n", "\n")))
    assert heard(spoken) in [heard(one.replace("\\n", "\n")) for one in wanted.split(" | ")], spoken


def test_the_table_is_large() -> None:
    assert len(TABLE) >= 150
    assert len({kind for kind, *_ in TABLE}) >= 25


WITHOUT_SURROGATES = st.text(st.characters(codec="utf-8"), max_size=8)
SENTENCES = [text.replace("\\n", "\n") for _, text, _ in TABLE]


@given(
    text=st.one_of(
        st.lists(st.sampled_from(FRAGMENTS), max_size=3).map(" ".join),
        st.text(st.characters(exclude_categories=("Cs", "Cn", "Nd", "No", "Nl")), max_size=30),
        st.lists(
            st.sampled_from(
                ["the", "Bei", "Dr.", "e.g.", "A-B", "&", "cm", "p.m.", "No.", "#", "*", "_", "St.", "km/h", "50%"]
            ),
            max_size=8,
        ).map(" ".join),
    )
)
@settings(max_examples=150, deadline=None)
def test_a_digit_elsewhere_changes_nothing(normalizer: TextNormalizer, text: str) -> None:
    text = text.strip() + ".\n\n"
    assert normalizer.whole(text + "We won 3 games.").startswith(normalizer.whole(text))


@pytest.mark.parametrize(
    "text", ["Bei uns ist es kalt. ", "Mr. Jones & Co. left at noon. ", "\u4ed6\u5f88\u9ad8\u3002"]
)
@pytest.mark.parametrize(("after", "word"), [
    ("It has 3 cats.", "three"), ("Er hat 10 Katzen.", "zehn"), ("\u4ed6\u67093\u53ea\u732b\u3002", "\u4e09"),
])  # fmt: skip
def test_a_digit_in_the_next_sentence_changes_nothing(
    normalizer: TextNormalizer, text: str, after: str, word: str
) -> None:
    spoken = normalizer.whole(text + after)
    assert spoken.startswith(normalizer.whole(text))
    assert word in spoken


TEMPLATES = {
    "en": "There are {} of them in the house.",
    "zh": "\u6211\u4eec\u5bb6\u6709{}\u4e2a\u4eba\u3002",
    "ja": "\u305d\u308c\u306f{}\u306b\u306a\u308a\u307e\u3059\u3002",
    "ko": "\uadf8\uac83\uc740 {} \uc815\ub3c4\uc785\ub2c8\ub2e4.",
    "de": "Das sind nicht mehr als {} und auch nicht weniger.",
    "fr": "Il y en a {} dans la maison avec nous.",
    "es": "Hay m\u00e1s de {} en la casa de los ni\u00f1os.",
    "it": "Ci sono {} persone che non sono nella casa.",
    "pt": "N\u00e3o s\u00e3o {} as pessoas que voc\u00ea tem.",
}
WRITTEN = st.one_of(
    st.integers(0, 10**12).map(str),
    st.integers(0, 10**8).map(lambda value: f"{value:,}"),
    st.floats(0, 10**5).map(lambda value: f"{value:.2f}"),
    st.from_regex(
        r"[$\u20ac\u00a3\u00a5]?[0-9]{1,4}([.,:/-][0-9]{1,4}){0,3}(%| kg| km/h|\u00b0C|th|s| pm)?", fullmatch=True
    ),
    st.from_regex(r"[A-Z]{1,3}-?[0-9.]{1,5}[a-z]?", fullmatch=True),
)


@given(language=st.sampled_from(sorted(TEMPLATES)), number=WRITTEN)
@settings(max_examples=300, deadline=None)
def test_no_digit_is_left_and_none_is_in_another_language(
    normalizer: TextNormalizer, language: str, number: str
) -> None:
    text = TEMPLATES[language].format(number)
    assert normalizer.language(text) == language
    spoken = normalizer.whole(text)
    assert not re.search(r"\d", spoken), spoken
    if language != "en":
        assert not re.search(r"\b(one|two|three|four|five|seven|eight|nine|ten|hundred)\b", spoken), spoken


@pytest.mark.parametrize(("text", "language"), [
    ("\u041f\u0440\u0438\u0432\u0435\u0442, 5", "other"), ("Het is 5 graden en niet warm.", "other"),
    ("Jag har 3 katter och det \u00e4r inte mycket.", "other"), ("\u0645\u0631\u062d\u0628\u0627 5", "other"),
    ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 3", "other"), ("Mam 3 koty i nie wiem, co dalej.", "other"),
])  # fmt: skip
def test_other_languages_keep_their_digits(normalizer: TextNormalizer, text: str, language: str) -> None:
    assert normalizer.language(text) == language
    assert re.findall(r"\d", normalizer.whole(text)) == re.findall(r"\d", text)


@pytest.mark.parametrize(("text", "language"), [
    ("", None), ("5", None), ("Hm.", None), ("Caf\u00e9 Z\u00fcrich is open.", "en"), ("OK \u4f60\u597d", "zh"),
    ("The word \u4f60\u597d is one of those that they say in the morning.", "en"), ("\u6771\u4eac", "zh"),
    ("\u6771\u4eac\u306f\u5927\u304d\u3044", "ja"), ("\u4ed6\u559c\u6b22\u306e\u8fd9\u4e2a", "zh"),
    ("\uc11c\uc6b8 Seoul", "ko"),
])  # fmt: skip
def test_language(text: str, language: str | None) -> None:
    assert detect(text) == language
    assert detect(text, "de") == (language or "de")


def test_kanji_alone_are_japanese_within_japanese(normalizer: TextNormalizer) -> None:
    assert normalizer.whole("\u6771\u4eac\u3067\u3059\u3002\u4eba\u53e3200\u4eba\u3002").endswith(
        "\u4eba\u53e3\u4e8c\u767e\u4eba\u3002"
    )
    assert normalizer.whole("\u6211\u4eec\u7684\u3002\u4eba\u53e3200\u4eba\u3002").endswith(
        "\u4eba\u53e3\u4e24\u767e\u4eba\u3002"
    )


@pytest.mark.parametrize("token", COSYVOICE2.special_tokens[4:])
def test_control_tokens_stay_whole(normalizer: TextNormalizer, token: str) -> None:
    for text in ("{}", "5{}", "**he said,{}.** 7", "\u4f60\u597d{}\uff0c25\u5c81", "- {}5{}5{}"):
        assert normalizer.whole(text.replace("{}", token)).count(token) == text.count("{}")


@pytest.mark.parametrize(("text", "wanted"), [
    ("Stop! \U0001f525\U0001f525\n\nNote this.", "Stop! Note this."), ("Stop! \U0001f525 Go on.", "Stop! Go on."),
    ("\U0001f525 Hello.", "Hello."), ("Yes. \u200b\u200b No.", "Yes. No."), ("A b. <b> C d.</b>", "A b. C d."),
    ("- \U0001f525\n- Fire", "Fire"),
    ("\u4f60\u597d\u3002\U0001f525 \u4e16\u754c\u3002", "\u4f60\u597d\u3002\u4e16\u754c\u3002"),
    ("One. \u3000 Two.", "One. Two."), ("One.\n \n\t\nTwo. ", "One. Two."),
    ("\u4f60\u597d\u3002\n\nDVD, CD, LP, MP3, HDMI, WLAN, LTE, GSM, NFC, BMW, ADAC\nThey are.",
     "\u4f60\u597d\u3002DVD, CD, LP, MP\u4e09, HDMI, WLAN, LTE, GSM, NFC, BMW, ADAC They are."),
    ("Hi. [laughter] \U0001f525 Ho.", "Hi. [laughter] Ho."),
])  # fmt: skip
def test_what_is_left_out_leaves_one_blank(normalizer: TextNormalizer, text: str, wanted: str) -> None:
    assert normalizer.whole(text) == wanted


@pytest.mark.parametrize("text", ["~\u00a3", "~$", "\u2248 \u20ac", "~", "\uff5e\u00a3 ~$"])
def test_about_nothing_is_nothing_to_say(normalizer: TextNormalizer, text: str) -> None:
    assert not is_speakable(normalizer.whole(text))


@pytest.mark.parametrize("text", ["~\u00a35", "~ \u00a35", "\u2248\u00a3 5"])
def test_about_an_amount(normalizer: TextNormalizer, text: str) -> None:
    assert normalizer.whole(text) == "about five pounds"


def test_links_and_html_are_no_control_tokens(normalizer: TextNormalizer, recwarn: pytest.WarningsRecorder) -> None:
    assert normalizer("Read [this](https://x.org) in <b>bold</b>, 5 times") == ["Read this in bold, five times."]
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"\[Breath\] .did you mean \[breath\]"):
        normalizer("[Breath] [here](x.org)")


@given(
    text=st.lists(
        st.one_of(WITHOUT_SURROGATES, st.sampled_from([*SENTENCES, *FRAGMENTS])),
        max_size=4,
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:the text has what look like control tokens")
def test_any_text(normalizer: TextNormalizer, text: str) -> None:
    whole = normalizer.whole(text)
    if is_speakable(text):
        assert all(map(is_speakable, normalizer(text)))
    else:
        assert not is_speakable(whole)


@pytest.mark.parametrize("unit", [
    "1", "*", "[", ".", "(", "](", "[a](", "<", "1,", "1.", "1:", "1-", "1/", "a@", "a.b/", "- ", "|-", "`", "_a", "$1",
    "~", "\n", "# a\n", "I.", "v1.", "A1", "+1 ", "x=", "\u4e001", "\u2460", "&amp;", "Mr. ", "12345 ", "Louis X",
    "'1",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:the text has what look like control tokens")
def test_time_is_linear(normalizer: TextNormalizer, unit: str) -> None:
    """Some 15 microseconds a character; anything quadratic takes minutes."""
    normalizer.whole("warm up: 12 \uc0b412")
    text = unit * (10_000 // len(unit)) + " a"
    start = time.process_time()
    normalizer.whole(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "unit", ["1", "a1 ", "1. ", "1,", "[a] ", "He has 3 cats. ", "\u4ed6\u67093\u53ea\u732b\uff0c"]
)
@pytest.mark.filterwarnings("ignore:the text has what look like control tokens")
def test_a_megabyte_starts_at_once(normalizer: TextNormalizer, unit: str) -> None:
    normalizer.whole("warm up: 12 \uc0b412 \u4ed62\u4e2a")
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    segments = normalizer.segments(text)
    assert [next(segments) for _ in range(3)]
    assert time.process_time() - start < 5


def test_threads(normalizer: TextNormalizer) -> None:
    alone = [normalizer.whole(text) for text in SENTENCES]
    results: dict[int, list[str]] = {}

    def run(index: int) -> None:
        results[index] = [TextNormalizer().whole(text) for text in SENTENCES[::-1]][::-1]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == [alone] * 4
