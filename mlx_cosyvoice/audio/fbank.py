"""The speaker encoder's input: Kaldi's log mel filter bank, 80 bands."""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_cosyvoice._blas_threads import one_blas_thread
from mlx_cosyvoice.audio.filters import kaldi_filters
from mlx_cosyvoice.audio.framing import as_samples, frames

SAMPLE_RATE = 16000
WINDOW = 400  # 25 ms
SHIFT = 160  # 10 ms
N_FFT = 512  # the window, rounded up to a power of two
N_MELS = 80
FMIN = 20.0
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)


@lru_cache
def _transform() -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine transform of a windowed frame: [400, 257] float64 each, Kaldi's "povey" window folded in.

    The window is a symmetric Hann window to the power 0.85; frames are padded with zeros to 512 samples.
    """
    sample = np.arange(WINDOW)
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * sample / (WINDOW - 1))) ** 0.85
    angle = 2.0 * np.pi / N_FFT * np.outer(sample, np.arange(N_FFT // 2 + 1))
    return window[:, None] * np.cos(angle), window[:, None] * np.sin(angle)


def kaldi_fbank(wave: np.ndarray | mx.array) -> mx.array:
    """16 kHz samples [samples] in [-1, 1] to log powers [1, T, 80] float32, T = 1 + (samples - 400) // 160.

    Officially `torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=80, dither=0, sample_frequency=16000)`: frames
    that do not fit whole are dropped (`snip_edges`), each frame loses its mean and is pre-emphasized. Kaldi itself
    expects 16-bit integers; the official code passes [-1, 1], and the floor (float32 epsilon) is relative to that.

    Works in float64 and so with NumPy, as MLX has no float64 on every device: nothing floors a quiet band beside a loud
    one, and there float32 is off by 1e-3 and more.

    Raises:
        ValueError: `wave` is not [samples] or is shorter than one window of 400 samples.
    """
    windows = np.array(frames(as_samples(wave, WINDOW), WINDOW, SHIFT)).astype(np.float64)
    windows -= windows.mean(axis=1, keepdims=True)
    previous = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)  # a frame's first sample is its own past
    windows -= PREEMPHASIS * previous
    with one_blas_thread():
        power = sum(np.square(windows @ part) for part in _transform())
        mel = power @ kaldi_filters(SAMPLE_RATE, N_FFT, N_MELS, FMIN).T.astype(np.float64)
    return mx.array(np.log(np.maximum(mel, FLOOR)).astype(np.float32)[None])


def mean_normalize(features: mx.array) -> mx.array:
    """[batch, T, bands] less each band's mean over time: what CAM++ expects in place of the plain filter bank."""
    centered = features - features.mean(axis=1, keepdims=True)
    # MLX adds one frame after the other: of 29 s the mean is 6e-5 off, which is as much as is left of it here
    return centered - centered.mean(axis=1, keepdims=True)
