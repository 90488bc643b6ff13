"""What stages hand on to those that follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.nano.corpus import Corpus, Utterance
from reference.nano.stages import Workplace, _embedded_as


def test_embeddings_of_a_variant_serve_its_other_utterances() -> None:
    said = [Utterance(("one",), variant, 0, 1, [], []) for variant in (0, 0, 1, 0, 0, 1)]
    assert _embedded_as(Corpus(said, {}), 2) == [0, 1, 2, 0, 1, 5]


def test_what_is_not_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"campplus\.pt: train it first: python -m reference\.nano campplus"):
        Workplace(tmp_path).weights("campplus")
