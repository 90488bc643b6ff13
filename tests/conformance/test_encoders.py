"""Speaker encoder and speech tokenizer against the golden numbers of 3D-Speaker's and S3Tokenizer's own code."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_parity.stage import Given
from parity.stages import Outputs, Settings
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech_tokenizer import SpeechTokenizer
from reference.synthetic import recipe
from tests.conformance.networks import network, recorder, sides, sizes
from tests.support.embeddings import cosine
from tests.support.golden import assert_close, assert_probes, golden
from tests.support.tokens import assert_tokens

PROBE = {"pytorch": 1e-3, "mlx": 5e-3}
EMBEDDING = {"pytorch": 1e-5, "mlx": 1e-4}


def embedding(side: str, frames: int) -> np.ndarray:
    fbank = recipe.unit(f"input/fbank{frames}", (1, frames, 80)) * np.float32(2)
    outputs = SpeakerEncoder().call(network(side, "campplus"), Given({"fbank": fbank}, Settings()))
    return outputs.tensors["embedding"]


#: CosyVoice2's and CosyVoice3's.
tokenizers = pytest.mark.parametrize("tokenizer", ["speech_tokenizer", "speech_tokenizer3"])


def tokenized(side: str, tokenizer: str, size: str, frames: int) -> Outputs:
    log_mel = recipe.unit(f"input/logmel{frames}", (1, 128, frames)) * np.float32(0.4)
    module = network(side, tokenizer, size)
    return SpeechTokenizer().call(module, Given({"log_mel": log_mel}, Settings()))


@sides
@pytest.mark.parametrize("frames", [348, 100, 57])
def test_embedding_is_the_golden_one(side: str, frames: int) -> None:
    expected, actual = golden("campplus")[f"embedding{frames}"], embedding(side, frames)
    assert cosine(actual, expected) >= 0.999999
    assert_close(actual, expected, EMBEDDING[side], "embedding")


@sides
def test_every_probe_of_the_speaker_encoder(side: str) -> None:
    recording, listening = recorder(network(side, "campplus"), "campplus")
    with listening:
        embedding(side, 348)
    assert len(golden("campplus").shapes) == 795
    assert_probes(recording, golden("campplus"), PROBE[side])


@sides
@sizes
@tokenizers
@pytest.mark.parametrize("frames", [301, 100, 96])
def test_tokens_are_the_golden_ones(side: str, tokenizer: str, size: str, frames: int) -> None:
    file, outputs = golden(f"{tokenizer}.{size}"), tokenized(side, tokenizer, size, frames)
    assert_close(outputs.tensors["before_rounding"], file[f"fsq_pre_round{frames}"], 1e-3, "before rounding")
    assert_tokens(outputs.tokens["prompt_token"], file[f"codes{frames}"], file[f"fsq_pre_round{frames}"])


@sides
@sizes
@tokenizers
def test_every_probe_of_the_speech_tokenizer(side: str, tokenizer: str, size: str) -> None:
    recording, listening = recorder(network(side, tokenizer, size), tokenizer, size)
    with listening:
        tokenized(side, tokenizer, size, 301)
    assert_probes(recording, golden(f"{tokenizer}.{size}"), PROBE[side])


@sides
def test_tokens_are_int32(side: str) -> None:
    tokenizer = network(side, "speech_tokenizer", "tiny")
    tokens = tokenizer.module(tokenizer.array(np.zeros((1, 128, 8), np.float32), channels_first=True))
    assert str(tokens.dtype).endswith(".int32")
