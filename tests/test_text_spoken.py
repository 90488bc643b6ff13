"""What is said for a text: a table of texts and what people would say, and rules that hold for all texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlx_cosyvoice.text import TextNormalizer

#: Written down from what people would say, before the code was tried on them.
TABLE = [
    line.split("\t")
    for line in (Path(__file__).parent / "data" / "spoken_texts.tsv").read_text(encoding="utf-8").splitlines()[1:]
]

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


@pytest.fixture(scope="module")
def normalizer() -> TextNormalizer:
    return TextNormalizer()


def heard(text: str) -> str:
    """The words of `text`: signs and capitals make no difference, nor does "and" within an English number."""
    text = re.sub("['\u2019]", "", text.casefold())
    text = re.sub(r"\b(hundred|thousand|million) and\b", r"\1", text)
    words = re.sub(r"[\W_]+", " ", text).strip()
    return words.replace(" ", "") if _UNSPACED.search(words) else words


@pytest.mark.parametrize(("kind", "text", "wanted"), TABLE, ids=[f"{kind}-{n}" for n, (kind, *_) in enumerate(TABLE)])
def test_what_people_would_say(normalizer: TextNormalizer, kind: str, text: str, wanted: str) -> None:
    spoken = " ".join(normalizer(text.replace("\\n", "\n")))
    assert heard(spoken) in [heard(one.replace("\\n", "\n")) for one in wanted.split(" | ")], spoken


def test_the_table_is_large() -> None:
    assert len(TABLE) >= 150
    assert len({kind for kind, *_ in TABLE}) >= 25
