"""Waveform to features: Whisper's log mel, Kaldi's filter bank, and the mel that the flow continues.

Both sides are given the same waves, so the resampler that makes them has a test signal of its own: tones that the
MLX package reads from a file, and that the reference resamples as the official code does. The exact result is known
without any resampler. The tones end at 3/4 of the new band, where the two filters still agree; what they do above is
not compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from mlx_cosyvoice import audio
from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape
from reference import features
from reference.resample import resample

#: Sample rate of the file with the tones, and what it is read at.
FILE_RATE, RATES = 44100, (16000, 24000)
#: As shares of the Nyquist frequency of the rate that the tones are read at.
TONES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.6, 0.68, 0.74)


def tones(rate: int, target: int) -> np.ndarray:
    """Half a second of the `TONES` for `target`, sampled at `rate`, fading in and out."""
    moment = np.arange(rate // 2) / rate
    fade = np.square(np.sin(np.pi * moment / 0.5))
    return fade * sum(np.sin(np.pi * tone * target * moment) for tone in TONES) / len(TONES)


def read_tones(rate: int) -> np.ndarray:
    """The tones as the MLX package reads them from a file of another rate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tones.wav"
        soundfile.write(path, tones(FILE_RATE, rate), FILE_RATE, subtype="FLOAT")
        return audio.load_audio(path, rate, min_seconds=0)


class AudioFeatures(Stage):
    name = "audio_features"
    title = "Audio features"
    needs = ("wave16", "wave24")
    gives = ("log_mel", "fbank", "prompt_mel")

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        wave16, wave24 = tensor(given["wave16"], dtype), tensor(given["wave24"], dtype)
        fbank = features.kaldi_fbank(wave16)
        fbank = fbank - fbank.mean(0, keepdim=True)
        return Outputs(
            tensors={
                "log_mel": features.log_mel_spectrogram(wave16)[None].numpy(),
                "fbank": fbank[None].numpy(),
                "prompt_mel": features.mel_spectrogram(wave24).T[None].numpy(),
            }
            | {f"resampled_{rate // 1000}k": self._resampled(rate, dtype) for rate in RATES}
        )

    @staticmethod
    def _resampled(rate: int, dtype: torch.dtype) -> np.ndarray:
        if dtype == torch.float64:  # the exact result
            return tones(rate, rate)[None]
        return resample(tensor(tones(FILE_RATE, rate), dtype), FILE_RATE, rate)[None].numpy()

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        fbank = audio.mean_normalise(audio.kaldi_fbank(given["wave16"]))
        return Outputs(
            tensors={
                "log_mel": np.array(audio.log_mel_spectrogram(given["wave16"])).transpose(0, 2, 1),
                "fbank": np.array(fbank),
                "prompt_mel": np.array(audio.mel_spectrogram(given["wave24"])),
            }
            | {f"resampled_{rate // 1000}k": read_tones(rate)[None] for rate in RATES}
        )

    def publish(self, outputs: Outputs, given: Arrays) -> dict[str, np.ndarray]:
        return {name: outputs.tensors[name] for name in self.gives}
