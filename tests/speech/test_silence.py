"""Long silence is cut short: on both sides as upstream does, and where the model speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.families.cosyvoice3_tokens import SILENCE
from mlx_cosyvoice.families.declaration import Silence
from mlx_cosyvoice.speech.silence import cut_short
from reference.silence import COSYVOICE3_SILENT_TOKENS, passed_on
from tests.support.golden import golden
from tests.support.voices import make_voice

TEXT = "We have a nice time."
SILENT = sorted(SILENCE.tokens)
#: What the language model says, over and over.
SAID = [*SILENT[:8], 7, *SILENT[:3], 7]


def test_the_tokens_are_the_official_ones() -> None:
    assert golden("silent3").metadata["silent_tokens"] == SILENT == sorted(COSYVOICE3_SILENT_TOKENS)


@pytest.mark.parametrize("side", ["pytorch", "mlx"])
def test_what_is_passed_on_is_the_official_list(side: str) -> None:
    file = golden("silent3")
    made = passed_on(file["tokens"].tolist()) if side == "pytorch" else cut_short(file["tokens"].tolist(), SILENCE)
    assert list(made) == file["passed_on"].tolist()


@given(tokens=st.lists(st.sampled_from([3, 4, 5, 6, *SILENT])))
def test_no_longer_run_is_left_and_nothing_else_goes(tokens: list[int]) -> None:
    left = list(cut_short(tokens, SILENCE))
    assert left == passed_on(tokens)
    runs = [len(list(run)) for silent, run in groupby(left, SILENCE.tokens.__contains__) if silent]
    assert max(runs, default=0) <= 5
    assert [token for token in left if token not in SILENCE.tokens] == [
        token for token in tokens if token not in SILENCE.tokens
    ]


def test_where_nothing_is_silent_all_is_passed_on() -> None:
    assert list(cut_short([1] * 9, Silence())) == [1] * 9


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> CosyVoice2:
    """A CosyVoice2 with CosyVoice3's silence."""
    model = CosyVoice2.load(tiny_model)
    model.family = replace(model.family, silence=SILENCE)
    return model


@pytest.mark.parametrize("arriving", [False, True])
def test_the_language_model_goes_on_from_what_is_not_passed_on(model: CosyVoice2, arriving: bool) -> None:
    said: list[list[int]] = []
    assert model.llm is not None
    fill = model.llm.fill_token

    def draw(log_probs: object, decoded: list[int], ignore_eos: bool) -> int:
        said.append(list(decoded))
        return SAID[len([token for token in decoded if token != fill]) % len(SAID)]

    def pieces() -> Iterator[str]:
        yield from (TEXT + " ") * 4

    # so long a prompt that text and speech are interleaved
    voice = make_voice(
        tokens=110 if arriving else 25, transcript="The quick brown fox jumps over the lazy dog, softly."
    )
    text = pieces() if arriving else TEXT
    spoken = list(model.speech_tokens(text, voice, sampler=draw, normalize=False, max_token_text_ratio=6))
    heard = [token for token in said[-1] if token != fill]
    assert heard == [SAID[index % len(SAID)] for index in range(len(heard))]
    assert spoken == passed_on([*heard, SAID[len(heard) % len(SAID)]])
    assert len(spoken) < len(heard)
    assert np.isin(spoken, SILENT).any()
