"""Waveform to features: Whisper's log mel, Kaldi's filter bank, and the mel that the flow continues.

Both sides read the same waves, so the resampler that makes them has a test signal of its own: tones that the
MLX package reads from a file, and that the reference resamples as the official code does. The exact result is known
without any resampler. The tones end at 3/4 of the new band, where the two filters still agree; what they do above is
not compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import soundfile

from mlx_parity.sides import Side
from parity.stages.base import Arrays, Given, Outputs, Stage

if TYPE_CHECKING:
    from parity.pair import Pair

#: Sample rate of the file with the tones, and what it is read at.
FILE_RATE, RATES = 44100, (16000, 24000)
#: As shares of the Nyquist frequency of the rate that the tones are read at.
TONES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.6, 0.68, 0.74)
#: Samples of the shortest waves: more than is reflected at the ends, and two windows, as one less its mean is nothing.
SHORTEST = {"log_mel": 201, "fbank": 560, "prompt_mel": 721}


def tones(rate: int, target: int) -> np.ndarray:
    """Half a second of the `TONES` for `target`, sampled at `rate`, fading in and out."""
    moment = np.arange(rate // 2) / rate
    fade = np.square(np.sin(np.pi * moment / 0.5))
    return fade * sum(np.sin(np.pi * tone * target * moment) for tone in TONES) / len(TONES)


class AudioFeatures(Stage):
    """What a side has for a module here is the mel of the family."""

    name = "audio_features"
    title = "Audio features"
    needs = ("wave16", "wave24")
    gives = ("log_mel", "fbank", "prompt_mel")
    owners: ClassVar[Mapping[str, str]] = {
        **{f"shortest_{name}": f"audio_features.{name}" for name in SHORTEST},
        "fbanks_of_three": "audio_features.fbank",
    }

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        return pair.reference.family.mel_fmax

    def of_model(self, pair: Pair) -> Any:
        return pair.model.family.mel

    def call(self, side: Side, given: Given) -> Outputs:
        features = _of_package if side.name == "mlx" else _of_reference
        waves = {name: given["wave24" if name == "prompt_mel" else "wave16"] for name in SHORTEST}
        short = features(side, {name: wave[: SHORTEST[name]] for name, wave in waves.items()})
        return Outputs(
            {
                **features(side, waves),
                **{f"shortest_{name}": feature for name, feature in short.items()},
                "fbanks_of_three": _three(side),
                **{f"resampled_{rate // 1000}k": _resampled(side, rate)[None] for rate in RATES},
            }
        )


def _of_package(side: Side, waves: Arrays) -> dict[str, np.ndarray]:
    """Feature -> it of the wave of the same name."""
    from mlx_cosyvoice import audio

    return {
        "log_mel": side.numpy(audio.log_mel_spectrogram(waves["log_mel"]), channels_first=True),
        "fbank": side.numpy(audio.mean_normalize(audio.kaldi_fbank(waves["fbank"]))),
        "prompt_mel": side.numpy(audio.mel_spectrogram(waves["prompt_mel"], side.module)),
    }


def _of_reference(side: Side, waves: Arrays) -> dict[str, np.ndarray]:
    from reference import features

    fbank = features.kaldi_fbank(side.array(waves["fbank"]))
    return {
        "log_mel": side.numpy(features.log_mel_spectrogram(side.array(waves["log_mel"]))[None]),
        "fbank": side.numpy((fbank - fbank.mean(0, keepdim=True))[None]),
        "prompt_mel": side.numpy(features.mel_spectrogram(side.array(waves["prompt_mel"]), side.module).T[None]),
    }


def _three(side: Side) -> np.ndarray:
    """Three drawn filter banks of five frames, each less its own means."""
    clips = side.array(np.random.default_rng(0).standard_normal((3, 5, 80)).astype(np.float32))
    if side.name != "mlx":
        return side.numpy(clips - clips.mean(1, keepdim=True))
    from mlx_cosyvoice import audio

    return side.numpy(audio.mean_normalize(clips))


def _resampled(side: Side, rate: int) -> np.ndarray:
    """The tones as the MLX package reads them from a file, as the reference resamples them, or as they are."""
    if side.name == "mlx":
        from mlx_cosyvoice import audio

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tones.wav"
            soundfile.write(path, tones(FILE_RATE, rate), FILE_RATE, subtype="FLOAT")
            return audio.load_audio(path, rate, min_seconds=0)
    from reference.resample import resample

    wave = side.array(tones(FILE_RATE, rate))
    exact = wave.itemsize == 8  # float64: no resampler is asked
    return tones(rate, rate) if exact else side.numpy(resample(wave, FILE_RATE, rate))
