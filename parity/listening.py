"""What a listener says of a wave: which words it hears, and how like the voice of a recording it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from mlx_cosyvoice.audio import kaldi_fbank, mean_normalize
from parity.measures.voice import speaker_cosine
from reference.nano.words import DIGITS, WORDS

if TYPE_CHECKING:
    from reference.nano.recogniser import Recogniser

#: Filter bank [1, T, 80], less its mean, to a speaker's embedding [1, 192].
Embed = Callable[[np.ndarray], np.ndarray]

#: Of what speaker encoders hear, in Hz; and the samples of one window of the filter bank.
RATE, WINDOW = 16000, 400


def official_encoder(file: Path) -> Embed:
    """The speaker encoder of an official ONNX file, such as a checkpoint's campplus.onnx.

    Raises:
        FileNotFoundError: no such file.
    """
    import onnxruntime

    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such speaker encoder; name a campplus.onnx")
    session = onnxruntime.InferenceSession(str(file))
    return lambda fbank: np.asarray(session.run(None, {"input": fbank})[0])


def embedding(embed: Embed, wave: np.ndarray, rate: int) -> np.ndarray:
    """The embedding [1, 192] of samples [n] at `rate` Hz. Its caller cuts off silence."""
    low = soxr.resample(np.asarray(wave, np.float32), rate, RATE)
    return embed(np.asarray(mean_normalize(kaldi_fbank(low)), np.float32))


def has_voice(wave: np.ndarray, rate: int) -> bool:
    """Whether samples [n] at `rate` Hz are finite, and as long as a window."""
    return bool(np.isfinite(wave).all()) and wave.size * RATE >= WINDOW * rate


def similarity(embed: Embed, wave: np.ndarray, rate: int, prompt: np.ndarray) -> float:
    """Cosine of the `embedding` of a wave and that of a recording, `prompt` [1, 192].

    -1 where the wave `has_voice` not.
    """
    wave = np.asarray(wave, np.float32)
    if not has_voice(wave, rate):
        return -1.0
    return speaker_cosine(embedding(embed, wave, rate), prompt)


def said_words(text: str) -> tuple[str, ...]:
    """The words of a text that the `recogniser_of` it knows; none at all where it does not know every one."""
    words = tuple(word.strip(".,;:!?") for word in text.lower().split())
    return words if set(words) <= set(WORDS) else ()


def recogniser_of(words: tuple[str, ...]) -> Recogniser:
    """One that knows the digits, or all words of the nano model where others are among `words`.

    Raises:
        ModuleNotFoundError: pocketsphinx is not installed.
    """
    from reference.nano.recogniser import Recogniser

    return Recogniser(DIGITS if set(words) <= set(DIGITS) else WORDS)


def heard_words(recogniser: Recogniser, wave: np.ndarray, rate: int) -> tuple[str, ...]:
    """What it hears in samples [n] at `rate` Hz; nothing where one is not finite, or there is none."""
    wave = np.asarray(wave, np.float32)
    return recogniser.words(wave, rate) if wave.size and np.isfinite(wave).all() else ()
