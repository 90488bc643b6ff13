"""Features of recordings, put together as `cosyvoice.cli.frontend.CosyVoiceFrontEnd` does."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mlx_cosyvoice
from mlx_cosyvoice import audio
from mlx_cosyvoice.audio.source import Source
from mlx_cosyvoice.audio.trim import trimmed
from mlx_cosyvoice.config import ModelConfig
from mlx_cosyvoice.families.declaration import Family
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.text.pace import mismatch
from mlx_cosyvoice.turns import turn
from mlx_cosyvoice.voices import Voice


def speech_token(speech: np.ndarray, speech_tokenizer: S3TokenizerV2) -> np.ndarray:
    """Samples at 16 kHz to speech tokens, int32 [1, N]."""
    with turn():
        return np.array(speech_tokenizer(audio.log_mel_spectrogram(speech))).astype(np.int32)


def utterance_tokens(pieces: Iterable[audio.Recording], speech_tokenizer: S3TokenizerV2) -> Iterator[list[int]]:
    """Speech tokens of a recording, piece by piece; see `audio.recording_pieces`."""
    for piece in pieces:
        tokens = speech_token(piece.at(16000), speech_tokenizer)[0].tolist()
        if tokens:  # the end of a recording may be shorter than a token
            yield tokens


def take_voice(
    recording: Source,
    transcript: str,
    config: ModelConfig,
    family: Family,
    speech_tokenizer: S3TokenizerV2,
    campplus: CAMPPlus,
    **part: Any,
) -> Voice:
    """The voice of a recording of at most 30 s, without the silence at its ends.

    Args:
        recording: as of `audio.read_recording`.
        transcript: what is said in it.
        config: of the model.
        family: of the model.
        speech_tokenizer: of the model.
        campplus: of the model.
        **part: `sample_rate` of an array, `start` and `end`, as of `audio.read_recording`.

    Warns:
        AudioWarning: silence was cut off, or the transcript can hardly be what is said in the recording.

    Raises:
        AudioError: the file is not audio, empty, silent, too short or too long.
    """
    whole = audio.read_recording(recording, max_seconds=audio.MAX_PROMPT_SECONDS, **part)
    read = trimmed(whole)
    if transcript.strip() and (doubt := mismatch(transcript, read.seconds)):
        warnings.warn(f"{read.name}: {doubt}", audio.AudioWarning, stacklevel=3)
    speech = read.at(16000)
    token = speech_token(speech, speech_tokenizer)
    wave = read.at(config.sample_rate)
    with turn():
        feat = np.array(audio.mel_spectrogram(wave, family.mel))
        embedding = np.array(campplus(audio.mean_normalize(audio.kaldi_fbank(speech))))
    # as the official frontend: exactly two mel frames for every token
    length = min(feat.shape[1] // config.token_mel_ratio, token.shape[1])
    return Voice(
        prompt_token=token[:, :length],
        prompt_feat=feat[:, : length * config.token_mel_ratio],
        embedding=embedding,
        transcript=transcript.strip(),
        provenance=_provenance(read, part.get("start", 0.0), part.get("end")),
        families=(family.model_type,),
    )


def _provenance(read: audio.Recording, start: float, end: float | None) -> dict[str, str]:
    part = {"part": f"{start:g} s to {'its end' if end is None else f'{end:g} s'}"} if start or end is not None else {}
    return {
        "source": Path(read.name).name.encode(errors="replace").decode(),
        "sha256": read.sha256,
        **part,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "library": f"mlx-cosyvoice {mlx_cosyvoice.__version__}",
    }
