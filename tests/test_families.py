"""Families are declared three times over, by hand: what the declarations say of the same thing must agree."""

from __future__ import annotations

import numpy as np
import pytest

import reference.families
from converters.families import OFFICIALS
from mlx_cosyvoice.config import CosyVoice2Config, SamplingConfig, from_dict
from mlx_cosyvoice.families import FAMILIES
from mlx_cosyvoice.families.declaration import SpeechIds
from mlx_cosyvoice.llm import Qwen2LM, RASSampler
from reference.synthetic.sizes import TINY


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_the_declarations_agree(model_type: str) -> None:
    ours, oracle, official = FAMILIES[model_type], reference.families.FAMILIES[model_type], OFFICIALS[model_type]
    assert ours.model_type == model_type
    assert official.family is ours
    assert {one.name: one.file for one in ours.components} == {name: one.file for name, one in oracle.networks.items()}
    assert list(official.origins) == list(ours.names) == list(oracle.networks)
    assert {name: one.prefix for name, one in official.origins.items()} == {
        name: one.prefix for name, one in oracle.networks.items()
    }
    assert (ours.yaml[0], ours.special_tokens) == (oracle.yaml, oracle.tokens)
    assert ours.mel.fmax == oracle.mel_fmax


def test_other_ids_of_speech() -> None:
    ids = SpeechIds(count=5, end=1, fill=3)
    model = Qwen2LM(from_dict(CosyVoice2Config, TINY).llm, ids)
    assert (model.eos_token, model.fill_token) == (6562, 6564)
    assert model.speech_embedding.weight.shape[0] == model.llm_decoder.weight.shape[0] == 6566
    scores = np.full(9, -np.inf, np.float32)
    scores[5] = 0
    assert RASSampler(SamplingConfig(), [0.5], ids)(scores, [], False) == 5
    with pytest.raises(ValueError, match="no token can be drawn"):
        RASSampler(SamplingConfig(), [0.5], ids)(scores, [], True)
