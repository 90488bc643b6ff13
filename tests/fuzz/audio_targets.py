"""Recordings of every container that libsndfile reads; their samples are noise, of which headers are the most."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mlx_cosyvoice.audio.errors import AudioWarning
from mlx_cosyvoice.audio.load import Recording, read_recording

#: Extension -> libsndfile's names of the container and of the coding, and whether the recording is there twice.
_KINDS: dict[str, tuple[str, str, bool]] = {
    "wav": ("WAV", "PCM_16", False),
    "wav-adpcm": ("WAV", "IMA_ADPCM", False),
    "wav-joined": ("WAV", "PCM_U8", True),
    "rf64": ("RF64", "PCM_16", False),
    "w64": ("W64", "PCM_U8", False),
    "flac": ("FLAC", "PCM_16", False),
    "flac-joined": ("FLAC", "PCM_16", True),
    "ogg": ("OGG", "VORBIS", False),
    "opus": ("OGG", "OPUS", False),
    "mp3": ("MP3", "MPEG_LAYER_III", False),
    "mp3-joined": ("MP3", "MPEG_LAYER_III", True),
    "aiff": ("AIFF", "PCM_16", False),
    "au": ("AU", "ULAW", False),
    "caf": ("CAF", "ALAC_16", False),
    "voc": ("VOC", "ULAW", False),
}


def _seed(container: str, subtype: str, twice: bool) -> Callable[[], bytes]:
    @cache
    def seed() -> bytes:
        samples = 0.1 * np.random.default_rng(0).standard_normal(5000)
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, subtype, format=container)
        return file.getvalue() * (1 + twice)

    return seed


def _read(path: Path) -> Recording:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        return read_recording(path, max_seconds=30)


#: Name -> file, seed, reader.
AUDIO_TARGETS: dict[str, tuple[Any, ...]] = {
    name: (f"anna.{name.partition('-')[0]}", _seed(*kind), _read) for name, kind in _KINDS.items()
}
