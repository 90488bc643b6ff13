"""Lets the nano model speak with a fault in it, and says what a listener would."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.audio import load_audio
from mlx_cosyvoice.model import SpeechModel
from mlx_cosyvoice.speech.modes import flow_input
from mlx_cosyvoice.voices import Voice
from parity import listening
from parity.faults.audible.ways import Way
from parity.measures.wave import log_spectral_distance
from parity.nano.speaking import Said, say, word_by_word
from parity.nano.tape import Tape
from parity.pair import load_pair
from reference.nano.export import PROMPTS, TRANSCRIPTS
from reference.nano.recogniser import word_errors
from reference.nano.words import held_out_strings, written

#: The recording that is cloned, and the numbers of the held-out strings that are said after it.
RECORDING, STRINGS = "awb-1.06.flac", range(4)


@dataclass(frozen=True)
class Utterance:
    """What is to be said, and what was."""

    words: tuple[str, ...]
    said: Said


class Listener:
    """The nano model and somebody who listens.

    Args:
        checkpoint: the official folder, with its recordings.
        model: what was converted from it.
        encoder: a campplus.onnx that judges likeness; None for the checkpoint's own.

    Raises:
        OSError: a file is missing.
        ModuleNotFoundError: there is no recogniser.
    """

    def __init__(self, checkpoint: Path, model: Path, encoder: Path | None = None) -> None:
        self.pair = load_pair(checkpoint, model)
        self.texts = [held_out_strings()[number] for number in STRINGS]
        self._recording = checkpoint / PROMPTS / RECORDING
        self._transcript: str = json.loads((checkpoint / PROMPTS / TRANSCRIPTS).read_text(encoding="utf-8"))[RECORDING]
        self._recogniser = listening.recogniser_of(self.texts[0])
        self._judge = listening.official_encoder(encoder or self.pair.original.file("campplus") or checkpoint)
        recorded = load_audio(self._recording, listening.RATE)
        self._own = listening.embedding(self._judge, recorded, listening.RATE)
        self._voice = self._cloned(self.pair.model)
        self._tokens = [
            self._generated(self.pair.model, self._voice, text, seed, False) for seed, text in enumerate(self.texts)
        ]
        self.healthy = cache(self.speak)

    def speak(self, way: Way) -> list[Utterance]:
        """All texts, with nothing that was kept from before."""
        tts = _fresh(self.pair.model)
        voice = self._cloned(tts) if way.clones else self._voice
        texts, tokens = self.texts, self._tokens
        if way.arriving:  # five words have arrived as a whole before anything of them is said
            texts = [one + other for one, other in zip(texts[::2], texts[1::2], strict=True)]
        if way.generates:
            tokens = [self._generated(tts, voice, text, seed, way.arriving) for seed, text in enumerate(texts)]
        if way.joined:
            texts, tokens = [tuple(chain.from_iterable(texts))], [[*chain.from_iterable(tokens)]]
        decoder, prompt = way.decoder(tts.flow, tts.hift), flow_input(voice)
        return [
            Utterance(text, say(decoder, prompt, spoken, Tape(seed).noise()) if spoken else _silence())
            for seed, (text, spoken) in enumerate(zip(texts, tokens, strict=True))
        ]

    def notices(self, utterances: Sequence[Utterance], healthy: Sequence[Utterance]) -> dict[str, Any]:
        """Mel statistics, words, likeness, and how far the sound is from that of `healthy` where both are as long."""
        waves, rate = [one.said.wave for one in utterances], self.pair.model.sample_rate
        heard = [listening.heard_words(self._recogniser, wave, rate) for wave in waves]
        mel = np.concatenate([one.said.mel for one in utterances]).astype(np.float64)
        return {
            "mean": float(mel.mean()) if mel.size else math.nan,
            "std": float(mel.std()) if mel.size else math.nan,
            "distance": _distance(utterances, healthy),
            "errors": sum(word_errors(words, one.words) for words, one in zip(heard, utterances, strict=True)),
            "words": sum(len(one.words) for one in utterances),
            "likeness": float(np.mean([listening.similarity(self._judge, wave, rate, self._own) for wave in waves])),
            "heard": [" ".join(words) for words in heard],
        }

    def _cloned(self, tts: SpeechModel) -> Voice:
        return tts.clone(self._recording, self._transcript)

    def _generated(
        self, tts: SpeechModel, voice: Voice, words: tuple[str, ...], seed: int, arriving: bool
    ) -> list[int]:
        if arriving:
            text = word_by_word(words)
            return list(tts.speech_tokens(text, voice, mode="cross_lingual", normalize=False, seed=seed))
        return list(tts.speech_tokens(written(words), voice, seed=seed))


def _fresh(model: SpeechModel) -> SpeechModel:
    """The same networks in a model that keeps nothing yet of voices and prompts."""
    parts = {name: getattr(model, name) for name in model.family.names}
    return SpeechModel(model.family, model.config, parts | {"text_tokenizer": model.text_tokenizer}, model.dtypes)


def _silence() -> Said:
    return Said(np.zeros(0, np.float32), np.zeros((0, 80), np.float32))


def _distance(utterances: Sequence[Utterance], healthy: Sequence[Utterance]) -> float | None:
    """The mean log-spectral distance in dB; None where other tokens were said, or another number of frames."""
    both = [(one.said.wave, other.said.wave) for one, other in zip(utterances, healthy, strict=True)]
    if any(one.shape != other.shape or not one.size for one, other in both):
        return None
    return float(np.mean([log_spectral_distance(one, other) for one, other in both]))
