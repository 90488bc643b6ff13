"""The reference's resampler: what a band-limited resampler must do, and where the official one ends its band."""

from __future__ import annotations

import math

import pytest
import torch

from reference.resample import ROLL_OFF, resample

PAIRS = [(44100, 16000), (44100, 24000), (48000, 16000), (16000, 24000), (22050, 24000)]


def _tone(hertz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    moment = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * hertz * moment) * torch.sin(math.pi * moment / seconds).square()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_inside_the_band_keeps_its_shape(source: int, target: int) -> None:
    hertz = 0.25 * min(source, target)
    found, wanted = resample(_tone(hertz, source), source, target), _tone(hertz, target)
    error = (found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert error < 0.01


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_a_tone_above_the_new_band_is_gone(source: int, target: int) -> None:
    assert resample(_tone(0.65 * target, source), source, target).abs().max() < 0.02


def test_the_band_ends_at_the_roll_off() -> None:
    edge = ROLL_OFF * 16000 / 2  # a windowed sinc lets half of the amplitude through there
    middle = resample(_tone(edge, 48000), 48000, 16000)[3000:5000]
    assert middle.abs().max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("length", [1, 441, 1000])
def test_length(source: int, target: int, length: int) -> None:
    assert resample(torch.zeros(length), source, target).shape == (math.ceil(length * target / source),)


def test_the_same_rate_changes_nothing() -> None:
    wave = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample(wave, 16000, 16000), wave)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    assert resample(torch.ones(500, dtype=dtype), 44100, 16000).dtype == dtype
