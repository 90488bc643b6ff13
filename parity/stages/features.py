"""Waveform to features: Whisper's log mel, Kaldi's filter bank, and the mel that the flow continues."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mlx_cosyvoice import audio
from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape
from reference import features


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
        )

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        fbank = audio.mean_normalise(audio.kaldi_fbank(given["wave16"]))
        return Outputs(
            tensors={
                "log_mel": np.array(audio.log_mel_spectrogram(given["wave16"])).transpose(0, 2, 1),
                "fbank": np.array(fbank),
                "prompt_mel": np.array(audio.mel_spectrogram(given["wave24"])),
            }
        )
