"""What a listener says of the nano model's own recordings, whose words and voices are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parity.listening import embedding, heard_words, official_encoder, recogniser_of, said_words, similarity
from reference.nano.export import PROMPTS, TRANSCRIPTS
from tests.support.process import ROOT

NANO = ROOT / "assets/nano"


@pytest.fixture(scope="module")
def prompts() -> dict[str, tuple[np.ndarray, int]]:
    transcripts = json.loads((NANO / PROMPTS / TRANSCRIPTS).read_text())
    return {name: soundfile.read(NANO / PROMPTS / name, dtype="float32") for name in transcripts}


def test_the_recogniser_hears_what_a_recording_says(prompts: dict[str, tuple[np.ndarray, int]]) -> None:
    pytest.importorskip("pocketsphinx", reason="NOT CHECKED by ear: pocketsphinx is not installed")
    wave, rate = prompts["awb-1.06.flac"]
    said = said_words("Seven, seven two nine six.")
    recogniser = recogniser_of(said)
    assert heard_words(recogniser, wave, rate) == said
    beginning = heard_words(recogniser, wave[: len(wave) // 2], rate)
    assert 1 < len(beginning) < len(said)
    assert beginning == said[: len(beginning)]
    assert heard_words(recogniser, np.append(wave, np.float32("nan")), rate) == ()


@pytest.mark.parametrize("text", ["", "seven comes before eight", "7"])
def test_a_text_with_a_word_that_it_does_not_know_is_not_listened_for(text: str) -> None:
    assert said_words(text) == ()


def test_half_a_recording_is_closer_to_its_other_half_than_to_other_voices(
    prompts: dict[str, tuple[np.ndarray, int]],
) -> None:
    embed = official_encoder(NANO / "campplus.onnx")
    for name, (wave, rate) in prompts.items():
        half = wave[: len(wave) // 2]
        cosines = {
            other: similarity(embed, half, rate, embedding(embed, one[len(one) // 2 :], its_rate))
            for other, (one, its_rate) in prompts.items()
        }
        assert max(cosines, key=cosines.__getitem__) == name


def test_what_cannot_be_embedded_is_like_nobody(prompts: dict[str, tuple[np.ndarray, int]]) -> None:
    embed = official_encoder(NANO / "campplus.onnx")
    wave, rate = prompts["rms-1.06.flac"]
    own = embedding(embed, wave, rate)
    assert similarity(embed, wave, rate, own) == pytest.approx(1)
    assert similarity(embed, wave[:100], rate, own) == -1
    assert similarity(embed, np.append(wave, np.float32("inf")), rate, own) == -1


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"campplus\.onnx: there is no such speaker encoder"):
        official_encoder(tmp_path / "campplus.onnx")
