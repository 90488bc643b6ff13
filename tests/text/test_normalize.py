"""The normalizer in upstream's way: official segments, control tokens, what is not text, and texts of any length."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.text import TextNormalizer, TextTokenizer, build_tokenizer
from mlx_cosyvoice.text import spell_out as spell_out_module
from mlx_cosyvoice.text.clean import is_speakable, without_invisible
from mlx_cosyvoice.text.control import ControlTokens
from mlx_cosyvoice.text.normalize import MODES
from mlx_cosyvoice.text.split import LIMIT
from reference.synthetic.text import write_blank_en
from tests.data.make_text_ids import FRAGMENTS
from tests.support.process import ROOT

#: From the official `text_normalize` with the code of wetext 0.0.4 on the graphs of wetext 0.1.8 and the tokenizer of
#: the tiny synthetic checkpoint.
OFFICIAL = json.loads((ROOT / "tests" / "data" / "text_segments.json").read_text())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    write_blank_en(folder, vocab_size="tiny", qwen_config={"vocab_size": 1000})
    files = (folder / name for name in ("vocab.json", "merges.txt", "tokenizer_config.json"))
    (folder / "tokenizer.json").write_text(build_tokenizer(*files).to_str(), encoding="utf-8")
    return TextTokenizer.from_file(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def normalizer(tokenizer: TextTokenizer) -> TextNormalizer:
    return TextNormalizer(tokenizer, enabled="upstream")


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["text"][:20].encode("unicode_escape").decode())
def test_official_segments(normalizer: TextNormalizer, case: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert normalizer(case["text"]) == case["segments"]
        assert normalizer.whole(case["text"]) == case["whole"]


def test_official_segments_cover_what_they_should() -> None:
    assert len(OFFICIAL) >= 50
    assert sum(len(case["segments"]) > 1 for case in OFFICIAL) >= 8


@pytest.mark.parametrize(("text", "expected"), [
    # Officially an AssertionError of wetext's.
    ("\uc800\ub294 25\uc0b4\uc785\ub2c8\ub2e4.", "\uc800\ub294 twenty-five\uc0b4\uc785\ub2c8\ub2e4."),
    ("two  blanks, 5\n\nlines", "two blanks, five lines."),
    # Officially "five!next".
    ("5!\nnext", "five! next."),
    ("5\u00e9 and 20% more", "five\u00e9 and twenty percent more."),
    # Officially "slash strong" and "xzero".
    ("<strong>he said,</strong>. 7", "<strong>he said,</strong>. seven."),
    ("x\u00b2 12", "x\u00b2 twelve."),
    # wetext 0.1.8 writes backslashes before the quotes.
    ('say "hi" 5', 'say "hi" five.'),
    ("a\\b 5", "a\\b five."),
    ("\u4ed6\u8bf4\"\u597d\"5", "\u4ed6\u8bf4\"\u597d\"\u4e94\u3002"),
])  # fmt: skip
def test_where_wetext_fails(normalizer: TextNormalizer, text: str, expected: str) -> None:
    assert "".join(normalizer(text)) == expected


def test_a_number_too_great_for_words_is_said_by_digits() -> None:
    assert spell_out_module.spell_out_digits("a" + "12" * 20) == "a" + "one two " * 19 + "one two"


@pytest.mark.parametrize("token", COSYVOICE2.special_tokens[4:])
@pytest.mark.parametrize("text", ["{}", "5{}", "he said,{}. 7", "5%{}/2", "\u4f60\u597d{}\uff0c25\u5c81", "{}5{}5{}"])
def test_control_tokens_stay_whole(normalizer: TextNormalizer, token: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = normalizer.whole(text.replace("{}", token))
    assert whole.count(token) == text.count("{}")
    assert not any(character.isdecimal() for character in whole)


def test_markup_passes_as_it_is(normalizer: TextNormalizer) -> None:
    text = " 5 apples (25%)<|endofprompt|> \n"
    assert normalizer(text) == [text]
    assert normalizer.whole(text) == text


def test_switched_off(tokenizer: TextTokenizer) -> None:
    off = TextNormalizer(tokenizer, enabled=False)
    text = "  5 apples. Then\n12 \u4f60\u597d  "
    assert off(text) == [text]
    assert off.whole(text) == text


def test_modes(tokenizer: TextTokenizer) -> None:
    assert [TextNormalizer(enabled=way).mode for way in (True, False, *MODES)] == ["spoken", "off", *MODES]
    with pytest.raises(ValueError, match="normalize='ours': must be True or one of 'spoken', 'upstream', 'off'"):
        TextNormalizer(tokenizer, enabled="ours")


def test_without_a_tokenizer() -> None:
    segments = TextNormalizer(enabled="upstream")("The quick brown fox jumps over the lazy dog. " * 30)
    assert len(segments) > 3
    assert max(map(len, segments)) < 600


@pytest.mark.parametrize(("text", "reason"), [
    ("", "the text is empty"),
    (" \n\t ", "the text is empty"),
    ("...", "no letter or digit"),
    ("\uff01\uff1f \u2026\u2026", "no letter or digit"),
    ("\U0001f600\u2764\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467", "no letter or digit"),
    ("\x00\x1b\ufeff\u200b", "no letter or digit"),
])  # fmt: skip
@pytest.mark.parametrize("enabled", [True, "upstream", False])
def test_nothing_to_say(text: str, reason: str, enabled: bool | str) -> None:
    normalizer = TextNormalizer(enabled=enabled)
    with pytest.raises(ValueError, match=f"nothing to say: .*{reason}"):
        normalizer.segments(text)  # at once, not when the first segment is asked for
    assert not is_speakable(normalizer.whole(text))


def test_segments_with_nothing_to_say_are_dropped(normalizer: TextNormalizer) -> None:
    text = "\u597d" * 70 + "\u3002" + "\u2026 " * 61 + "\u3002" + "\u597d" * 70 + "\u3002"
    assert normalizer(text) == ["\u597d" * 70 + "\u3002"] * 2


def test_surrogates(normalizer: TextNormalizer) -> None:
    assert normalizer("hi \ud83d\ude00 you") == ["hi \U0001f600 you."]
    for text, where in (("ok \ud83d", 3), ("\ude00 ok", 0), ("\U0001f600 ok \udfff x", 5)):
        with pytest.raises(ValueError, match=f"character {where} is a lone surrogate"):
            normalizer.segments(text)
        with pytest.raises(ValueError, match="lone surrogate"):
            normalizer.whole(text)


def test_characters_without_sound_or_width(normalizer: TextNormalizer) -> None:
    assert normalizer("\ufeffze\u200bro\x00 wi\u00addth\x1b\u202e\x7f, 5") == ["zero width, five."]
    assert without_invisible("a\r\nb\rc\u2028d\te") == "a\nb\nc\nd\te"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f"
    assert normalizer.whole(f"a {family} b") == f"a {family} b"


def test_unknown_control_tokens() -> None:
    text = "[laughter] [laugh] a < b > c [1] x[0] <sigh/> <stong>no</stong> <|im_strat|> <laughter> [laugh]"
    assert ControlTokens().unknown(text) == ["[laugh]", "<stong>", "</stong>", "<|im_strat|>"]
    assert ControlTokens().unknown("".join(COSYVOICE2.special_tokens)) == []


def test_unknown_control_tokens_are_warned_about(normalizer: TextNormalizer) -> None:
    with pytest.warns(UserWarning, match=r"\[Breath\] \(did you mean \[breath\].*\), \[zzz\]$"):
        assert normalizer("oh [Breath] my [zzz]") == ["oh [Breath] my [zzz]."]
    with pytest.warns(UserWarning, match="<stong> .did you mean <strong>"):
        normalizer.whole("<stong>")
    with pytest.warns(UserWarning, match=r"\[aa\], \[ab\], .* and 2 more$"):
        normalizer("[aa] [ab] [ac] [ad] [ae] [af] [ag]")


def test_wetext_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wetext", None)
    spell_out_module._wetext.cache_clear()
    try:
        normalizer = TextNormalizer(enabled="upstream")
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert normalizer("I have 25%") == ["I have twenty-five%."]
            assert normalizer("I have 26%") == ["I have twenty-six%."]
            assert normalizer("\u4ed625\u5c81") == ["\u4ed625\u5c81\u3002"]
        assert len(found) == 2  # once for each language
        assert all("wetext does not work here" in str(warning.message) for warning in found)
    finally:
        spell_out_module._wetext.cache_clear()


def test_import_is_light() -> None:
    script = (
        "import sys, mlx_cosyvoice; assert 'mlx_cosyvoice.text' not in sys.modules;"
        "from mlx_cosyvoice.text import TextNormalizer as N; assert N()('no digits') == ['no digits.'];"
        "print([name for name in ('wetext', 'inflect', 'kaldifst', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("unit", [
    "a", "1", "\u4f60", "[a", "!a", "a ", "\u4f60\u597d\uff0c", "The fox ran on, and on. ", "\uc800\ub294 25\uc0b4 ",
    "\u5728 2024\u5e745\u67083\u65e5 ", "[laughter]", "a\n", "a\U0001f600",
])  # fmt: skip
def test_a_megabyte_starts_at_once(normalizer: TextNormalizer, tokenizer: TextTokenizer, unit: str) -> None:
    """The first segments come before the rest is looked at; none is longer than the LLM can take."""
    text = unit * (1_000_000 // len(unit)) + "a"
    normalizer("warm up: 12 \uc0b412")
    start = time.process_time()
    segments: Iterator[str] = normalizer.segments(text)
    first = [next(segments) for _ in range(3)]
    assert time.process_time() - start < 5
    for segment in first:
        assert min(len(segment), len(tokenizer.encode(segment))) <= LIMIT


def test_long_text_is_not_lost(normalizer: TextNormalizer) -> None:
    sentences = [f"Sentence {'x' * (n % 17)} with {'words ' * (n % 40)}and no more" for n in range(400)]
    text = ". ".join(sentences)
    start = time.process_time()
    segments = normalizer(text)
    assert time.process_time() - start < 20
    assert "".join(segments) == text + "."
    assert segments == normalizer(text + ".")
    assert normalizer.whole("\u4f60\u597da - b") == "\u4f60\u597da\uff0cb"
    commas = "\u4f60\u597d\uff0c" * 500
    assert "".join(normalizer(commas)) == normalizer.whole(commas) == commas[:-1] + "\u3002"
    chinese = "\u4f60\u597d\uff0chello world \u5929\u6c14 \u597d\u3002one two\u3001" * 200
    joined = "\u4f60\u597d\uff0chello world\u5929\u6c14\u597d\u3002one two\u3001" * 200
    assert "".join(normalizer(chinese)) == joined[:-1] + "\u3002"


CHARACTERS = st.characters(exclude_categories=("Cs", "Cn"))
TEXTS = st.lists(
    st.one_of(
        st.text(CHARACTERS, max_size=8),
        st.sampled_from(FRAGMENTS),
        st.sampled_from(COSYVOICE2.special_tokens),
        st.sampled_from([" ", "\n", ". ", "5", "25%", "$3.50", '"', "\\", "\u3002", "\uff0c", "3 May 2024", "{ }"]),
    ),
    max_size=6,
).map("".join)


@given(text=TEXTS)
@example(text='."5')
@example(text='\u3002" \u4f60')
@settings(max_examples=150, deadline=None)
def test_any_text(normalizer: TextNormalizer, text: str) -> None:
    """No text crashes it, and letters that are not beside digits are never lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not is_speakable(text):
            with pytest.raises(ValueError, match="nothing to say"):
                normalizer(text)
            return
        segments = normalizer(text)
        assert segments
        assert all(map(is_speakable, segments))
        if not any(character.isdigit() for character in text):
            if not ("<|" in text and "|>" in text):
                text = text.replace("\u00b2", "").replace("\u00b3", "")
            assert letters("".join(segments)) == letters(without_invisible(text))
