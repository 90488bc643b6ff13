"""The flow's prompt feature and the vocoder's input: the mel spectrogram of Matcha-TTS (from HiFi-GAN)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.audio.filters import slaney_filters
from mlx_cosyvoice.audio.framing import as_samples, frames, hann, reflect

SAMPLE_RATE = 24000
N_FFT = 1920
HOP = 480
N_MELS = 80
FMAX = 8000.0


def mel_spectrogram(wave: np.ndarray | mx.array, *, fmax: float | None = FMAX) -> mx.array:
    """24 kHz samples [samples] in [-1, 1] to log magnitudes [1, T, 80] float32, T = samples // 480.

    Officially `matcha.utils.audio.mel_spectrogram` as `feat_extractor` in cosyvoice2.yaml binds it.

    Args:
        wave: [samples].
        fmax: upper end of the highest band in Hz: 8000 in CosyVoice2's yaml; None is the Nyquist frequency (12000),
            which the training-time vocoder loss and CosyVoice3 use.

    Raises:
        ValueError: `wave` is not [samples] or is shorter than the 721 samples that the reflection at its ends needs.
    """
    width = (N_FFT - HOP) // 2
    samples = reflect(as_samples(wave, width + 1), width)
    spectrum = mx.fft.rfft(frames(samples, N_FFT, HOP) * hann(N_FFT), axis=-1)
    magnitude = mx.sqrt(mx.square(spectrum.real) + mx.square(spectrum.imag) + 1e-9)
    filters = mx.array(slaney_filters(SAMPLE_RATE, N_FFT, N_MELS, 0.0, SAMPLE_RATE / 2 if fmax is None else fmax))
    return mx.log(mx.maximum(magnitude @ filters.T, 1e-5))[None]
