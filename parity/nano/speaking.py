"""What is handed to the model, and what it makes of it: text word by word; tokens to samples and the mel between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import Decoder, SourceNoise
from mlx_cosyvoice.decoding.decoder import decode
from mlx_cosyvoice.prompt import Prompt


@dataclass(frozen=True)
class Said:
    """wave [samples] at 24 kHz, mel [frames, 80]."""

    wave: np.ndarray
    mel: np.ndarray


class _Overheard:
    """A vocoder that keeps the mel that it is given."""

    def __init__(self, vocoder: Any) -> None:
        self._vocoder = vocoder
        self.mels: list[np.ndarray] = []

    def step(self, state: Any, mel: mx.array, noise: SourceNoise, *, final: bool) -> Any:
        self.mels.append(np.array(mel.astype(mx.float32))[0])
        return self._vocoder.step(state, mel, noise, final=final)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocoder, name)


def say(decoder: Decoder, prompt: Prompt, tokens: Sequence[int], noise: SourceNoise) -> Said:
    """Say `tokens` (at least one) with a decoder of the package, hop by hop as their number asks for."""
    vocoder = _Overheard(decoder.vocoder)  # type: ignore[attr-defined]
    with mock.patch.object(decoder, "vocoder", vocoder):
        pieces = [np.array(piece) for piece in decode(decoder, prompt, noise, tokens)]
    return Said(np.concatenate(pieces), np.concatenate(vocoder.mels))


def word_by_word(words: Sequence[str], pause: float = 0.0) -> Iterator[str]:
    """A text as it is being written, with so many seconds before each word."""
    for place, word in enumerate(words):
        time.sleep(pause)
        yield f" {word}" if place else word
