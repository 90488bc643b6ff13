"""The PyTorch speech tokenizer's own properties."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from reference import speech_tokenizer
from reference.synthetic import recipe
from tests.support.golden import as_torch, assert_close, golden, recipe_state_dict
from tests.support.tokens import SIZES


def log_mel(frames: int) -> torch.Tensor:
    return torch.from_numpy(recipe.unit(f"input/logmel{frames}", (1, 128, frames)) * np.float32(0.4))


@pytest.fixture(scope="module")
def tiny() -> speech_tokenizer.S3TokenizerV2:
    tokenizer = speech_tokenizer.build(asdict(SIZES["tiny"]))
    weights = recipe_state_dict("speech_tokenizer.tiny", "speech_tokenizer.")
    tokenizer.load_state_dict(as_torch(weights), strict=True)
    return tokenizer


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
