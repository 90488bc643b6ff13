"""Features of recordings, put together as `cosyvoice.cli.frontend.CosyVoiceFrontEnd` does."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

import mlx_cosyvoice
from mlx_cosyvoice import audio
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.voices import Voice


def load_speech(recording: str | Path) -> np.ndarray:
    """Samples at 16 kHz of a recording of at most 30 s, the longest that the speech tokenizer takes.

    Raises:
        AudioError: the file is not audio, empty, silent, too short or too long.
    """
    return audio.load_audio(recording, 16000, max_seconds=audio.MAX_PROMPT_SECONDS)


def speech_token(speech: np.ndarray, speech_tokenizer: S3TokenizerV2) -> np.ndarray:
    """Samples at 16 kHz to speech tokens, int32 [1, N]."""
    return np.array(speech_tokenizer(audio.log_mel_spectrogram(speech))).astype(np.int32)


def take_voice(
    recording: str | Path,
    transcript: str,
    config: CosyVoice2Config,
    speech_tokenizer: S3TokenizerV2,
    campplus: CAMPPlus,
) -> Voice:
    """The voice of a recording of at most 30 s.

    Raises:
        AudioError: the file is not audio, empty, silent, too short or too long.
    """
    read = audio.read_recording(recording, max_seconds=audio.MAX_PROMPT_SECONDS)
    speech = read.at(16000)
    token = speech_token(speech, speech_tokenizer)
    feat = np.array(audio.mel_spectrogram(read.at(config.sample_rate)))
    embedding = np.array(campplus(audio.mean_normalise(audio.kaldi_fbank(speech))))
    # as the official frontend: exactly two mel frames for every token
    length = min(feat.shape[1] // config.token_mel_ratio, token.shape[1])
    return Voice(
        prompt_token=token[:, :length],
        prompt_feat=feat[:, : length * config.token_mel_ratio],
        embedding=embedding,
        transcript=transcript.strip(),
        provenance=_provenance(Path(recording), read.sha256),
    )


def _provenance(recording: Path, sha256: str) -> dict[str, str]:
    return {
        "source": recording.name.encode(errors="replace").decode(),
        "sha256": sha256,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "library": f"mlx-cosyvoice {mlx_cosyvoice.__version__}",
    }
