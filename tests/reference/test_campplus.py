"""The PyTorch CAM++'s own properties."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from mlx_cosyvoice.config import SpeakerEncoderConfig
from reference import campplus
from reference.synthetic import recipe
from tests.support.golden import as_torch, assert_close, golden, recipe_state_dict


def fbank(frames: int) -> torch.Tensor:
    return torch.from_numpy(recipe.unit(f"input/fbank{frames}", (1, frames, 80)) * np.float32(2))


@pytest.fixture(scope="module")
def encoder() -> campplus.CAMPPlus:
    encoder = campplus.build(asdict(SpeakerEncoderConfig()))
    encoder.load_state_dict(as_torch(recipe_state_dict("campplus", "campplus.")), strict=True)
    return encoder


def test_float64_agrees(encoder: campplus.CAMPPlus) -> None:
    wide = campplus.build(asdict(SpeakerEncoderConfig())).double()
    wide.load_state_dict(encoder.state_dict())
    embedding = wide(fbank(57).double())
    assert embedding.dtype == torch.float64
    assert_close(embedding.numpy(), golden("campplus")["embedding57"], 1e-5, "embedding")


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_the_last_segment_is_divided_by_its_true_length(frames: int) -> None:
    x = torch.from_numpy(recipe.unit("segments", (1, 4, frames)))
    means = campplus.segment_means(x)
    for start in range(0, frames, 100):
        segment = x[:, :, start : start + 100]
        torch.testing.assert_close(means[:, :, start : start + 100], segment.mean(2, keepdim=True).expand_as(segment))


def test_a_batch_is_its_members(encoder: campplus.CAMPPlus) -> None:
    one, other = fbank(57), fbank(100)[:, :57]
    together = encoder(torch.cat([one, other]))
    torch.testing.assert_close(together, torch.cat([encoder(one), encoder(other)]), rtol=0, atol=1e-5)
