"""The flow's prompt feature and the vocoder's input: the mel spectrogram of Matcha-TTS (from HiFi-GAN)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.audio.filters import slaney_filters
from mlx_cosyvoice.audio.framing import as_samples, frames, hann, reflect
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.families.declaration import MelSettings


def mel_spectrogram(wave: np.ndarray | mx.array, mel: MelSettings = COSYVOICE2.mel) -> mx.array:
    """Samples [samples] in [-1, 1] to log magnitudes [1, T, bands] float32, T = samples // hop.

    Officially `matcha.utils.audio.mel_spectrogram` as `feat_extractor` in the family's yaml binds it.

    Args:
        wave: [samples] at the sampling rate of `mel`.
        mel: of the model's family.

    Raises:
        ValueError: `wave` is not [samples] or is too short for the reflection at its ends (721 for CosyVoice2).
    """
    width = (mel.n_fft - mel.hop_size) // 2
    samples = reflect(as_samples(wave, width + 1), width)
    spectrum = mx.fft.rfft(frames(samples, mel.n_fft, mel.hop_size) * hann(mel.n_fft), axis=-1)
    magnitude = mx.sqrt(mx.square(spectrum.real) + mx.square(spectrum.imag) + 1e-9)
    fmax = mel.sampling_rate / 2 if mel.fmax is None else mel.fmax
    filters = mx.array(slaney_filters(mel.sampling_rate, mel.n_fft, mel.num_mels, mel.fmin, fmax))
    return mx.log(mx.maximum(magnitude @ filters.T, 1e-5))[None]
