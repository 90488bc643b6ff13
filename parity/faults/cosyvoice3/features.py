"""Mistakes in the mel of CosyVoice3's prompt, which reaches up to the Nyquist frequency."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_cosyvoice.audio import mel
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("audio_features")
PROMPT_MEL = CATALOGUE.at("audio_features.prompt_mel")


@PROMPT_MEL.wrapping(mel, "slaney_filters")
def mel_up_to_8000(original: Any, rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """The prompt's mel ends at 8000 Hz, as CosyVoice2's does."""
    return original(rate, n_fft, bands, low, 8000.0)


@PROMPT_MEL.wrapping(mel, "slaney_filters")
def mel_up_to_16k_nyquist(original: Any, rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """No end is given, and half of 22050 Hz, librosa's default rate, is taken for it."""
    return original(rate, n_fft, bands, low, 11025.0)
