"""The PyTorch speech tokenizer against the golden numbers of S3Tokenizer."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from parity.capture import tap
from parity.sides.pytorch import TorchSide
from reference import speech_tokenizer
from reference.synthetic import recipe
from tests.support.golden import ProbeRecorder, as_torch, assert_close, assert_probes, golden, recipe_state_dict
from tests.support.tokens import SIZES, assert_tokens

FRAMES = (301, 100, 96)


def log_mel(frames: int) -> torch.Tensor:
    return torch.from_numpy(recipe.unit(f"input/logmel{frames}", (1, 128, frames)) * np.float32(0.4))


@pytest.fixture(scope="module", params=["tiny", pytest.param("full", marks=pytest.mark.slow)])
def sized(request: pytest.FixtureRequest) -> tuple[str, speech_tokenizer.S3TokenizerV2]:
    tokenizer = speech_tokenizer.build(asdict(SIZES[request.param]))
    weights = recipe_state_dict(f"speech_tokenizer.{request.param}", "speech_tokenizer.")
    tokenizer.load_state_dict(as_torch(weights), strict=True)
    return f"speech_tokenizer.{request.param}", tokenizer


@pytest.fixture(scope="module")
def tiny() -> speech_tokenizer.S3TokenizerV2:
    tokenizer = speech_tokenizer.build(asdict(SIZES["tiny"]))
    weights = recipe_state_dict("speech_tokenizer.tiny", "speech_tokenizer.")
    tokenizer.load_state_dict(as_torch(weights), strict=True)
    return tokenizer


@pytest.mark.parametrize("frames", FRAMES)
def test_tokens_are_the_golden_ones(sized: tuple[str, speech_tokenizer.S3TokenizerV2], frames: int) -> None:
    file, tokenizer = golden(sized[0]), sized[1]
    tokens = tokenizer(log_mel(frames))
    assert tokens.dtype == torch.int32
    before = tokenizer.before_rounding(log_mel(frames)).numpy()
    assert_close(before, file[f"fsq_pre_round{frames}"], 1e-3, "before rounding")
    assert_tokens(tokens.numpy(), file[f"codes{frames}"], file[f"fsq_pre_round{frames}"])


def test_every_probe(sized: tuple[str, speech_tokenizer.S3TokenizerV2]) -> None:
    file, tokenizer = golden(sized[0]), sized[1]
    recorder = ProbeRecorder(file.shapes)
    with tap(TorchSide(tokenizer), recorder, "speech_tokenizer."):
        tokenizer(log_mel(301))
    assert_probes(recorder, file, 1e-3)


def test_float64_agrees(tiny: speech_tokenizer.S3TokenizerV2) -> None:
    wide = speech_tokenizer.build(asdict(SIZES["tiny"])).double()
    wide.load_state_dict(tiny.state_dict())
    before = wide.before_rounding(log_mel(100).double())
    assert before.dtype == torch.float64
    assert_close(before.numpy(), golden("speech_tokenizer.tiny")["fsq_pre_round100"], 1e-4, "before rounding")


def test_half_precision_quantizes_in_float32(tiny: speech_tokenizer.S3TokenizerV2) -> None:
    half = speech_tokenizer.build(asdict(SIZES["tiny"])).bfloat16()
    half.load_state_dict(tiny.state_dict())
    before = half.before_rounding(log_mel(100).bfloat16())
    assert before.dtype == torch.float32
    assert torch.isfinite(before).all()
