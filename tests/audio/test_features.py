"""The three audio features, both sides: against the official numbers, against each other, and at their edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice import audio
from mlx_cosyvoice.audio import filters
from mlx_cosyvoice.families import COSYVOICE2
from reference import features as reference
from tests.support.golden import assert_close, golden
from tests.support.process import ROOT

SAMPLE = ROOT / "parity" / "data" / "sample.wav"
MAX_ABS = 1e-3
UP_TO_NYQUIST = replace(COSYVOICE2.mel, fmax=None)

# name: (rate, MLX [1, T, bands], reference [bands, T] or [T, bands], time axis of the reference)
FEATURES: dict[str, tuple[int, Callable, Callable, int]] = {
    "log_mel": (16000, audio.log_mel_spectrogram, reference.log_mel_spectrogram, 1),
    "fbank": (16000, audio.kaldi_fbank, reference.kaldi_fbank, 0),
    "mel": (24000, audio.mel_spectrogram, reference.mel_spectrogram, 1),
}


def both_sides(name: str, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[T, bands] of the MLX side and of the reference in float64."""
    _, ours, oracle, time_axis = FEATURES[name]
    features = ours(wave)
    assert features.dtype == mx.float32
    expected = oracle(torch.from_numpy(wave).double())
    assert expected.dtype == torch.float64
    return np.array(features)[0], expected.movedim(time_axis, 0).numpy()


def test_golden_reference() -> None:
    file = golden("features")
    wave16, wave24 = torch.from_numpy(file["wave16000"]), torch.from_numpy(file["wave24000"])
    fbank = reference.kaldi_fbank(wave16)
    assert_close(reference.log_mel_spectrogram(wave16), file["whisper_logmel128"], MAX_ABS, "log mel")
    assert_close(fbank, file["kaldi_fbank80"], MAX_ABS, "fbank")
    assert_close(
        reference.mean_normalize(fbank), file["kaldi_fbank80_mean_normalised"], MAX_ABS, "mean-normalized fbank"
    )
    # The golden mel goes up to the Nyquist frequency; cosyvoice2.yaml cuts at 8000 Hz.
    assert_close(reference.mel_spectrogram(wave24, fmax=None), file["mel80_24k"], MAX_ABS, "mel")


def test_golden_mlx() -> None:
    file = golden("features")
    fbank = audio.kaldi_fbank(file["wave16000"])
    normalized = audio.mean_normalize(fbank)
    assert_close(
        np.array(audio.log_mel_spectrogram(file["wave16000"]))[0].T, file["whisper_logmel128"], MAX_ABS, "log mel"
    )
    assert_close(np.array(fbank)[0], file["kaldi_fbank80"], MAX_ABS, "fbank")
    assert_close(np.array(normalized)[0], file["kaldi_fbank80_mean_normalised"], MAX_ABS, "mean-normalized fbank")
    mel = audio.mel_spectrogram(file["wave24000"], UP_TO_NYQUIST)
    assert_close(np.array(mel)[0].T, file["mel80_24k"], MAX_ABS, "mel")


@pytest.mark.parametrize("name", FEATURES)
def test_real_speech_mlx_equals_reference(name: str) -> None:
    ours, expected = both_sides(name, audio.load_audio(SAMPLE, FEATURES[name][0]))
    assert_close(ours, expected, MAX_ABS, name)
    assert np.ptp(expected) >= 2.0, "the sample speech should not be flat"


@pytest.mark.parametrize("name", FEATURES)
def test_reference_float32_is_near_float64(name: str) -> None:
    wave = torch.from_numpy(audio.load_audio(SAMPLE, FEATURES[name][0]))
    oracle = FEATURES[name][2]
    assert oracle(wave).dtype == torch.float32
    assert_close(oracle(wave), oracle(wave.double()).numpy(), MAX_ABS, name)


def test_default_mel_stops_at_8000_hz() -> None:
    """The published cosyvoice2.yaml has `fmax: 8000`: a tone above it must not be seen."""
    time = np.arange(24000) / 24000
    tone = (0.5 * np.sin(2 * np.pi * 10000 * time)).astype(np.float32)
    inner = slice(4, -4)  # the reflected ends break the tone
    assert np.array(audio.mel_spectrogram(tone))[0, inner].max() < -3.0
    assert np.array(audio.mel_spectrogram(tone, UP_TO_NYQUIST))[0, inner].max() > -0.5


@pytest.mark.parametrize(("name", "frames_of"), [
    ("log_mel", lambda n: n // 160),
    ("fbank", lambda n: 1 + (n - 400) // 160),
    ("mel", lambda n: n // 480),
])  # fmt: skip
@given(samples=st.integers(min_value=960, max_value=4000))
@settings(max_examples=25, deadline=None)
def test_any_length(name: str, frames_of: Callable[[int], int], samples: int) -> None:
    wave = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    ours, expected = both_sides(name, wave)
    assert len(ours) == frames_of(samples)
    assert_close(ours, expected, MAX_ABS, name)


@pytest.mark.parametrize("name", FEATURES)
def test_silence_is_finite(name: str) -> None:
    ours, expected = both_sides(name, np.zeros(4000, np.float32))
    assert_close(ours, expected, MAX_ABS, name)


def test_fbank_ignores_a_constant_offset() -> None:
    """Each frame loses its mean, so a microphone's DC offset changes nothing but rounding."""
    wave = audio.load_audio(SAMPLE, 16000)[16000:32000]
    plain, shifted = audio.kaldi_fbank(wave), audio.kaldi_fbank(wave + np.float32(0.125))
    assert float(mx.abs(plain - shifted).max()) < 0.02


def test_fbank_of_a_quiet_band_beside_a_loud_one() -> None:
    """A loud low tone over faint noise: where float32 transforms are off by tenths, ours still agrees."""
    time = np.arange(8000) / 16000
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, 8000)
    ours, expected = both_sides("fbank", (0.9 * np.sin(2 * np.pi * 100 * time) + noise).astype(np.float32))
    assert_close(ours, expected, 1e-5, "fbank")


def test_a_long_mean_is_as_exact_as_a_short_one() -> None:
    features = np.random.default_rng(3).normal(-10, 4, (1, 2898, 80)).astype(np.float32)
    exact = features - features.mean(axis=1, keepdims=True, dtype=np.float64)
    assert np.abs(np.array(audio.mean_normalize(mx.array(features))) - exact).max() < 3e-6


def test_mean_normalize_is_per_clip() -> None:
    clips = mx.random.uniform(shape=(2, 30, 80), key=mx.random.key(0)) + mx.array([1.0, -3.0])[:, None, None]
    assert float(mx.abs(audio.mean_normalize(clips).mean(axis=1)).max()) < 1e-5


@pytest.mark.parametrize("name", FEATURES)
def test_accepts_mlx_arrays(name: str) -> None:
    wave = np.sin(np.arange(4000) / 9).astype(np.float32)
    function = FEATURES[name][1]
    assert mx.array_equal(function(wave), function(mx.array(wave)))


@pytest.mark.parametrize(("name", "shortest"), [("log_mel", 201), ("fbank", 400), ("mel", 721)])
def test_too_short_waves_are_refused(name: str, shortest: int) -> None:
    function = FEATURES[name][1]
    assert function(np.ones(shortest, np.float32)).shape[1] == 1
    with pytest.raises(ValueError, match=f"has {shortest - 1} samples.* at least {shortest}"):
        function(np.ones(shortest - 1, np.float32))


@pytest.mark.parametrize("name", FEATURES)
def test_batches_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"one dimension \[samples\], not the shape \[1, 4000\]"):
        FEATURES[name][1](np.zeros((1, 4000), np.float32))


def test_filters_agree_between_the_sides() -> None:
    for rate, n_fft, n_mels, fmax in ((16000, 400, 128, 8000.0), (24000, 1920, 80, 8000.0), (24000, 1920, 80, 12000.0)):
        ours = filters.slaney_filters(rate, n_fft, n_mels, 0.0, fmax)
        assert ours.shape == (n_mels, n_fft // 2 + 1)
        assert_close(ours, reference.slaney_filters(rate, n_fft, n_mels, fmax).numpy(), 1e-7, "slaney filters")
    ours = filters.kaldi_filters(16000, 512, 80, 20.0)
    assert_close(ours, reference.kaldi_filters(16000, 512, 80, 20.0).numpy(), 1e-6, "kaldi filters")


def test_cached_filters_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        filters.slaney_filters(16000, 400, 128, 0.0, 8000.0)[0, 0] = 1.0
