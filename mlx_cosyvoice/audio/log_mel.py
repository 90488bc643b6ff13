"""The speech tokenizer's input: the log mel spectrogram of openai-whisper, 128 bands."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.audio.filters import slaney_filters
from mlx_cosyvoice.audio.framing import as_samples, frames, hann, reflect

SAMPLE_RATE = 16000
N_FFT = 400
HOP = 160
N_MELS = 128
DYNAMIC_RANGE = 8.0  # decades below the loudest value, where the spectrogram is cut off


def log_mel_spectrogram(wave: np.ndarray | mx.array) -> mx.array:
    """16 kHz samples [samples] in [-1, 1] to [1, T, 128] float32, T = samples // 160.

    Officially `whisper.log_mel_spectrogram(wave, n_mels=128)`. The cut-off follows the loudest value of the whole
    wave, so the features of a part are not the part of the features.

    Raises:
        ValueError: `wave` is not [samples] or is shorter than the 201 samples that the reflection at its ends needs.
    """
    samples = reflect(as_samples(wave, N_FFT // 2 + 1), N_FFT // 2)
    spectrum = mx.fft.rfft(frames(samples, N_FFT, HOP) * hann(N_FFT), axis=-1)[:-1]  # Whisper drops the last frame
    power = mx.square(spectrum.real) + mx.square(spectrum.imag)
    filters = mx.array(slaney_filters(SAMPLE_RATE, N_FFT, N_MELS, 0.0, SAMPLE_RATE / 2))
    mel = mx.log10(mx.maximum(power @ filters.T, 1e-10))
    mel = mx.maximum(mel, mel.max() - DYNAMIC_RANGE)
    return ((mel + 4.0) / 4.0)[None]
