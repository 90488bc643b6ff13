"""Mistakes in the mel of CosyVoice3's prompt, which reaches up to the Nyquist frequency."""

from __future__ import annotations

from mlx_cosyvoice.audio import mel
from parity.faults.base import Mistakes, at

PROMPT_MEL = at("audio_features.prompt_mel").of(mel.mel_spectrogram)

MISTAKES: Mistakes = {
    "mel-up-to-8000: The prompt's mel ends at 8000 Hz, as CosyVoice2's does.": PROMPT_MEL.edits(
        "mel.sampling_rate / 2 if", "8000.0 if"
    ),
    "mel-up-to-16k-nyquist: No end is given, and half of 22050 Hz, librosa's default rate, is taken for it.": (
        PROMPT_MEL.edits("mel.sampling_rate / 2 if", "11025.0 if")
    ),
}
