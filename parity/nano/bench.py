"""What measures have in common: models, voices, tokens of true speech, and the listener."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import soxr

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import mel_spectrogram
from mlx_cosyvoice.cloning import speech_token
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech.modes import flow_input
from mlx_cosyvoice.voices import Voice
from parity import listening
from parity.measures.voice import speaker_cosine
from parity.nano.cases import Case
from parity.nano.pytorch import Reader
from parity.nano.weights import load, weights_of
from reference.nano.export import PROMPTS, TRANSCRIPTS
from reference.nano.recogniser import Recogniser, word_errors
from reference.nano.voices import RATE, say
from reference.nano.words import held_out_strings, written

#: Samples at 16 kHz of a speech token.
TOKEN_SAMPLES = 640


class Bench:
    """Everything is loaded when it is asked for first.

    Args:
        checkpoint: the official folder, with its recordings.
        model: what was converted from it in float32.
        work: a folder for conversions in other precisions.
        encoder: a campplus.onnx that judges likeness; None leaves likeness out.

    Raises:
        OSError: a file is missing.
        ValueError: `model` was converted from other files.
        ModuleNotFoundError: there is no recogniser.
    """

    def __init__(self, checkpoint: Path, model: Path, work: Path, encoder: Path | None = None) -> None:
        self.checkpoint, self.work = checkpoint, work
        self.weights = weights_of(checkpoint, model)
        path = checkpoint / PROMPTS / TRANSCRIPTS
        self.transcripts: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))
        self.recogniser = Recogniser()
        self._model, self._encoder = model, encoder
        self.model = cache(self._load)
        self.voice = cache(self._voice)
        self.prompt = cache(lambda precision, name: flow_input(self.voice(precision, name)))
        self.recorded = cache(self._recorded)
        self.tokens = cache(lambda case: self._joined(case, self._tokens))

    def recording(self, name: str) -> Path:
        return self.checkpoint / PROMPTS / name

    def _load(self, precision: str) -> CosyVoice2:
        if precision == "float32":
            return CosyVoice2.load(self._model, dtype="float32")
        self._check()
        return load(self.checkpoint, self.work, self.weights, precision)

    def _check(self) -> None:
        """Refuse a checkpoint that is not the one that it was at first: a run of hours outlasts many a training."""
        if weights_of(self.checkpoint, self._model) != self.weights:
            raise ValueError(f"{self.checkpoint} and {self._model} are not what they were when this run began")

    def _voice(self, precision: str, name: str) -> Voice:
        return self.model(precision).clone(self.recording(name), self.transcripts[name])

    @cached_property
    def reader(self) -> Reader:
        self._check()
        return Reader(self.checkpoint)

    # true speech

    def _recorded(self, words: tuple[str, ...], variant: Any) -> np.ndarray:
        """`flite` says words: samples at 16 kHz, whole tokens of them."""
        wave = say(written(words), variant).wave
        return wave[: len(wave) // TOKEN_SAMPLES * TOKEN_SAMPLES]

    def _joined(self, case: Case, of: Any) -> Any:
        """Long texts are said string by string, as training knows no longer ones."""
        length = len(held_out_strings()[0])
        strings = (case.words[start : start + length] for start in range(0, len(case.words), length))
        return np.concatenate([of(self.recorded(words, case.variant)) for words in strings])

    def wave(self, case: Case) -> np.ndarray:
        """What the case's own variant says: samples at 16 kHz."""
        return self._joined(case, lambda wave: wave)

    def _tokens(self, wave: np.ndarray) -> np.ndarray:
        tokenizer = self.model("float32").speech_tokenizer
        assert tokenizer is not None
        return speech_token(wave, tokenizer)[0]

    def mels(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The flow's mel of the tokens of true speech, and the true mel: [frames, 80]."""
        tts, tokens = self.model("float32"), self.tokens(case)
        assert tts.flow is not None
        prompt: Prompt = self.prompt("float32", case.prompt)
        made = tts.flow(mx.array(tokens[None]), *prompt.arrays, streaming=False, finalize=True)
        high = soxr.resample(self.wave(case), RATE, tts.sample_rate)
        true = np.array(mel_spectrogram(high, tts.family.mel))[0]
        frames = min(len(true), made.shape[1])
        return np.array(made)[0, :frames], true[:frames]

    # the listener

    def heard(self, wave: np.ndarray, rate: int, case: Case) -> dict[str, Any]:
        """Words heard, how many are wrong, how long it is in seconds, and the likeness to each recording."""
        words = listening.heard_words(self.recogniser, wave, rate)
        likeness = {"likeness": self.likeness(wave, rate)} if self._encoder else {}
        wrong = word_errors(words, case.words)
        return {"heard": " ".join(words), "errors": wrong, "audio": round(len(wave) / rate, 2), **likeness}

    def likeness(self, wave: np.ndarray, rate: int) -> dict[str, float]:
        """Recording -> cosine; nothing of a wave that has no voice."""
        if not listening.has_voice(wave, rate):
            return {}
        own = listening.embedding(self._judge, wave, rate)
        return {name: round(speaker_cosine(own, other), 4) for name, other in self._embeddings.items()}

    @cached_property
    def _judge(self) -> listening.Embed:
        assert self._encoder is not None
        return listening.official_encoder(self._encoder)

    @cached_property
    def _embeddings(self) -> dict[str, np.ndarray]:
        from mlx_cosyvoice.audio import load_audio

        waves = {name: load_audio(self.recording(name), listening.RATE) for name in self.transcripts}
        return {name: listening.embedding(self._judge, wave, listening.RATE) for name, wave in waves.items()}


def nearest(likeness: Mapping[str, float]) -> str:
    """The recording that a wave is most like."""
    return max(likeness, key=lambda name: likeness[name])
