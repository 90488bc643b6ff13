"""A CosyVoice3 model as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_cosyvoice import CosyVoice2, Voice, load
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.families import COSYVOICE3
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT
from mlx_cosyvoice.llm import CosyVoice3LM
from mlx_cosyvoice.model import SpeechModel
from mlx_cosyvoice.speech.prefixes import PrefixCache
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from mlx_cosyvoice.voices import VoiceError
from mlx_cosyvoice.weights import ModelFolderError
from tests.support.process import ROOT

SAMPLE = ROOT / "parity" / "data" / "sample.wav"


@pytest.fixture(scope="module")
def model(tiny_model3: Path) -> SpeechModel:
    return load(tiny_model3)


def test_it_is_what_config_json_names(model: SpeechModel) -> None:
    assert model.family is COSYVOICE3
    assert (type(model.llm), type(model.flow), type(model.hift)) == (
        CosyVoice3LM,
        CausalMaskedDiffWithDiT,
        CausalHiFTGenerator,
    )
    assert model.speakers == {}


def test_it_is_no_cosyvoice2(tiny_model3: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"is a CosyVoice3; load it with mlx_cosyvoice\.load$"):
        CosyVoice2.load(tiny_model3)


def test_info(tiny_model3: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "--json", "--model", str(tiny_model3)]) == 0
    facts = json.loads(capsys.readouterr().out)["model"]
    assert facts["family"] == "CosyVoice3"
    assert list(facts["components"]) == list(COSYVOICE3.names)


def test_an_official_checkpoint_is_to_be_converted(tiny_checkpoint3: Path) -> None:
    """Its config.json says nothing."""
    with pytest.raises(ModelFolderError, match=r"has cosyvoice3\.yaml, so it is an official checkpoint: convert it"):
        load(tiny_checkpoint3)


QUICK: dict[str, Any] = {"n_timesteps": 1, "min_token_text_ratio": 4, "max_token_text_ratio": 8}


@pytest.fixture(scope="module")
def voice(model: SpeechModel) -> Voice:
    return model.clone(SAMPLE, SAMPLE.with_suffix(".txt").read_text(encoding="utf-8"))


def test_a_voice_of_another_family_is_refused(model: SpeechModel, voice: Voice) -> None:
    assert voice.families == ("cosyvoice3",)
    other = replace(voice, families=("cosyvoice2",))
    refused = r"^this voice was taken by CosyVoice2, .* not those of CosyVoice3: take it again .* mode sft"
    for speak in (
        lambda: model.synthesize("A nice time.", other, **QUICK),
        lambda: model.stream("A nice time.", other, mode="instruct2", instruction="Speak softly.", **QUICK),
        lambda: model.convert_voice(SAMPLE, other, n_timesteps=1),
    ):
        with pytest.raises(VoiceError, match=refused):
            speak()
    theirs, ours = (model.synthesize("A time.", one, mode="sft", seed=1, **QUICK) for one in (other, voice))
    assert np.array_equal(theirs, ours)


def test_it_speaks_at_once_and_in_chunks(model: SpeechModel, voice: Voice) -> None:
    samples = model.synthesize("A nice time.", voice, seed=1, **QUICK)
    assert len(samples) % 960 == 0
    assert np.isfinite(samples).all()
    assert 0 < np.abs(samples).max() <= 1
    for decoding in ("official", "incremental"):
        chunks = list(model.stream("A nice time.", voice, seed=1, decoding=decoding, **QUICK))
        assert sum(map(len, chunks)) == len(samples)


def test_its_noise_is_the_same_for_every_seed(model: SpeechModel, voice: Voice) -> None:
    said = [
        np.concatenate(list(model.convert_voice(SAMPLE, voice, end=1, n_timesteps=1, seed=seed))) for seed in (0, 1)
    ]
    np.testing.assert_array_equal(said[0], said[1])


def test_its_language_model_reads_the_system_prompt_first(
    model: SpeechModel, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.llm is not None
    assert model.text_tokenizer is not None
    read: list[Sequence[int]] = []
    prefill = model.llm.prefill_prefix

    def noting(prompt_text: Sequence[int]) -> Any:
        read.append(prompt_text)
        return prefill(prompt_text)

    monkeypatch.setattr(model.llm, "prefill_prefix", noting)
    monkeypatch.setattr(model, "_prefixes", PrefixCache(model.llm))
    list(model.speech_tokens("A nice time.", voice, max_token_text_ratio=2))
    opening = model.text_tokenizer.encode("You are a helpful assistant.<|endofprompt|>")
    assert [list(ids[: len(opening)]) for ids in read] == [opening]
