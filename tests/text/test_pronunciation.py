"""Pronunciations in brackets reach the language model as they are."""

from __future__ import annotations

import pytest

from mlx_cosyvoice.families.cosyvoice3_tokens import SPECIAL_TOKENS
from mlx_cosyvoice.families.pronunciation import PHONEMES, PINYIN, toned
from mlx_cosyvoice.text import TextNormalizer
from mlx_cosyvoice.text.control import ControlTokens

MODES = ("spoken", "upstream")
modes = pytest.mark.parametrize("mode", MODES)


def normalized(text: str, mode: str, tokens: tuple[str, ...] = SPECIAL_TOKENS) -> str:
    return TextNormalizer(enabled=mode, control=ControlTokens(tokens)).whole(text)


def test_there_are_as_many_as_the_model_has_rows_for() -> None:
    assert (len(PHONEMES), len(PINYIN)) == (84, 176)
    assert len(set(SPECIAL_TOKENS)) == len(SPECIAL_TOKENS) == 281


@pytest.mark.parametrize(
    ("final", "tone", "written"),
    [
        ("iang", "2", "i\u00e1ng"),
        ("iong", "3", "i\u01d2ng"),
        ("iu", "4", "i\u00f9"),
        ("ui", "4", "u\u00ec"),
        ("ue", "3", "u\u011b"),
        ("ou", "1", "\u014du"),
        ("\u00fc", "3", "\u01da"),
        ("ve", "4", "v\u00e8"),
        ("uo", "0", "uo"),
    ],
)
def test_where_the_mark_of_a_tone_stands(final: str, tone: str, written: str) -> None:
    assert toned(final, tone) == written
    assert written in PINYIN


@modes
@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("He [R][EH1][D] 2 books.", "He [R][EH1][D] two books."),
        ("\u62a5\u9053[j][\u01d0]\u4e88\u597d\u8bc4\u3002", "\u62a5\u9053[j][\u01d0]\u4e88\u597d\u8bc4\u3002"),
        ("Say [AA0] and [ZH] now.", "Say [AA0] and [ZH] now."),
    ],
)
def test_they_are_neither_links_nor_numbers(mode: str, text: str, spoken: str) -> None:
    """In markdown two brackets in a row are a link, and a digit in them is read out."""
    assert normalized(text, mode) == spoken


@modes
def test_control_tokens_in_a_row_are_no_link(mode: str) -> None:
    assert normalized("Ha [breath][sigh] ha.", mode) == "Ha [breath][sigh] ha."


def test_what_is_no_control_token_is_a_link_still() -> None:
    assert normalized("See [the docs][1] and [here](x.html).", "spoken") == "See the docs and here."
    assert normalized("See [T][a].", "spoken", SPECIAL_TOKENS[:20]) == "See T."
