"""The three audio features that CosyVoice2 computes before its networks, in plain PyTorch.

Each maps a wave [samples] in [-1, 1], and computes in the wave's dtype, so float64 waves give float64 features: that
tells rounding from error. Layouts are the official ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def slaney_filters(sample_rate: int, n_fft: int, n_mels: int, fmax: float) -> Tensor:
    """`librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmax=fmax)` in float64."""

    def to_hz(mel: Tensor) -> Tensor:
        # 200/3 Hz a mel up to mel 15 (1000 Hz), then a factor 6.4 every 27 mels
        return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))

    top = fmax * 3.0 / 200.0 if fmax < 1000.0 else 15.0 + 27.0 * math.log(fmax / 1000.0) / math.log(6.4)
    corners = to_hz(torch.arange(n_mels + 2, dtype=torch.float64) * (top / (n_mels + 1)))
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    rows = []
    for low, peak, high in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        rising, falling = (frequencies - low) / (peak - low), (high - frequencies) / (high - peak)
        rows.append(torch.minimum(rising, falling).clamp(min=0.0) * 2.0 / (high - low))
    return torch.stack(rows)


def kaldi_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float) -> Tensor:
    """`torchaudio.compliance.kaldi.get_mel_banks` up to Nyquist, with the zero Nyquist column, float64."""

    def to_mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log(1.0 + hz / 700.0)

    ends = to_mel(torch.tensor([fmin, sample_rate / 2], dtype=torch.float64))
    step = (ends[1] - ends[0]) / (n_mels + 1)
    position = (to_mel(torch.arange(n_fft // 2, dtype=torch.float64) * (sample_rate / n_fft)) - ends[0]) / step
    # In units of a step, triangle i is 1 at i + 1 and falls to 0 one step to either side.
    distance = (position[None, :] - torch.arange(1, n_mels + 1, dtype=torch.float64)[:, None]).abs()
    return F.pad((1.0 - distance).clamp(min=0.0), (0, 1))


def log_mel_spectrogram(wave: Tensor) -> Tensor:
    """`whisper.log_mel_spectrogram(wave, n_mels=128)`: 16 kHz [samples] to [128, samples // 160]."""
    window = torch.hann_window(400, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, 400, 160, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum[:, :-1].abs().square()
    log = (slaney_filters(16000, 400, 128, 8000.0).to(power) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def kaldi_fbank(wave: Tensor) -> Tensor:
    """`torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=80, dither=0, sample_frequency=16000)`: to [T, 80].

    T = 1 + (samples - 400) // 160.
    """
    frames = wave.unfold(0, 400, 160)
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames - 0.97 * F.pad(frames[None], (1, 0), mode="replicate")[0, :, :-1]
    frames = frames * torch.hann_window(400, periodic=False, dtype=wave.dtype, device=wave.device).pow(0.85)
    power = torch.fft.rfft(frames, n=512).abs().square()
    mel = power @ kaldi_filters(16000, 512, 80, 20.0).to(power).T
    return mel.clamp(min=torch.finfo(torch.float32).eps).log()  # the official floor, whatever the dtype


def mean_normalize(features: Tensor) -> Tensor:
    """[T, bands] less each band's mean over time, as CAM++ gets it."""
    return features - features.mean(dim=0, keepdim=True)


def mel_spectrogram(wave: Tensor, fmax: float | None = 8000.0) -> Tensor:
    """`matcha.utils.audio.mel_spectrogram` as CosyVoice2's `feat_extractor`: 24 kHz [samples] to [80, samples // 480].

    `fmax` is 8000 in cosyvoice2.yaml; None stands for the Nyquist frequency.
    """
    padded = F.pad(wave[None], (720, 720), mode="reflect")[0]
    window = torch.hann_window(1920, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(padded, 1920, 480, window=window, center=False, return_complex=True)
    magnitude = (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()
    filters = slaney_filters(24000, 1920, 80, 12000.0 if fmax is None else fmax).to(magnitude)
    return (filters @ magnitude).clamp(min=1e-5).log()
