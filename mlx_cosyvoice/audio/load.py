"""Audio files in: any format, rate and channel count that libsndfile reads, as mono float32 at a wanted rate."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from mlx_cosyvoice.audio.errors import AudioError

#: What the speech tokenizer takes at most; the official code refuses longer prompts too.
MAX_PROMPT_SECONDS = 30.0

#: The networks run from 0.06 s on (two frames for the speaker encoder's standard deviation, 31 ms for the mel's
#: reflected ends, one whole speech token), but they cannot hear a voice in less than a syllable or two.
MIN_SECONDS = 0.5

#: -60 dBFS: a recording whose loudest sample lies below is a muted microphone.
SILENCE_PEAK = 1e-3


@dataclass(frozen=True)
class Recording:
    """An audio file as it was read, once.

    Attributes:
        samples: float32 [samples] in [-1, 1], mono (the mean of the channels).
        sample_rate: of the file, in Hz.
        sha256: hex digest of the whole file.
    """

    samples: np.ndarray
    sample_rate: int
    sha256: str

    def at(self, sample_rate: int) -> np.ndarray:
        """The samples at another rate, resampled with soxr ("HQ").

        Raises:
            ValueError: `sample_rate` is not positive.
        """
        _check_rate(sample_rate)
        wave = self.samples
        if self.sample_rate != sample_rate:
            wave = soxr.resample(wave, self.sample_rate, sample_rate, quality="HQ")
        return np.ascontiguousarray(wave, dtype=np.float32)


def load_audio(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float | None = None,
) -> np.ndarray:
    """Read an audio file as float32 [samples] at `sample_rate`, mono (the mean of its channels), scaled to [-1, 1].

    The official `load_wav` resamples with torchaudio and refuses files below 16 kHz; this one resamples with soxr
    ("HQ"), which differs from torchaudio only near the highest frequencies, and takes any rate.

    Args:
        path: the file; its content decides about its format.
        sample_rate: of the result, in Hz.
        min_seconds: shorter audio is refused.
        max_seconds: longer audio is refused, before it is decoded; None for no limit.

    Raises:
        AudioError: the file is missing, not audio, damaged, empty, too short, too long, silent (no sample above
            `SILENCE_PEAK` once mixed to mono), or holds NaN or infinite samples. The message names the file.
        ValueError: `sample_rate` is not positive.
    """
    _check_rate(sample_rate)
    return read_recording(path, min_seconds=min_seconds, max_seconds=max_seconds).at(sample_rate)


def read_recording(
    path: str | os.PathLike[str], *, min_seconds: float = MIN_SECONDS, max_seconds: float | None = None
) -> Recording:
    """Read an audio file, for those who want it at several rates; arguments and AudioErrors as of `load_audio`."""
    path = Path(path)
    channels, file_rate, sha256 = _read(path, max_seconds)
    if not len(channels):
        raise AudioError(f"{path}: the audio file is empty (no samples)")
    seconds = len(channels) / file_rate
    if seconds < min_seconds:
        raise AudioError(f"{path}: {seconds:.3f} s of audio is too short; at least {min_seconds:g} s are needed")
    if not np.isfinite(channels).all():
        count = int(np.sum(~np.isfinite(channels)))
        raise AudioError(f"{path}: {count} samples are NaN or infinite; export the recording again")
    wave = channels.mean(axis=1)
    peak = float(np.abs(wave).max())
    if peak < SILENCE_PEAK:
        level = f"{20 * np.log10(peak):.0f} dBFS" if peak > 0 else "all zeros"
        raise AudioError(f"{path}: the audio is silent (peak {level}, mixed to mono); a voice peaks above -60 dBFS")
    return Recording(wave, file_rate, sha256)


def _check_rate(sample_rate: int) -> None:
    if sample_rate <= 0:
        raise ValueError(f"sample_rate must be positive, not {sample_rate}")


def _read(path: Path, max_seconds: float | None) -> tuple[np.ndarray, int, str]:
    """The samples [samples, channels] float32, their rate, and the file's SHA-256."""
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    try:
        # libsndfile gets the descriptor: it would call back into Python for another kind of file, and lose Ctrl-C.
        with path.open("rb", buffering=0) as content, soundfile.SoundFile(content.fileno(), closefd=False) as file:
            seconds = file.frames / file.samplerate
            if max_seconds is not None and seconds > max_seconds:
                raise AudioError(
                    f"{path}: {seconds:.1f} s of audio is too long; at most {max_seconds:g} s are allowed, so cut it"
                )
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) < file.frames:
                raise AudioError(f"{path}: damaged, only {len(samples)} of {file.frames} samples can be read")
            content.seek(0)
            return samples, file.samplerate, _sha256(content)
    # soundfile raises RuntimeError for what libsndfile refuses
    except (RuntimeError, OSError) as error:
        reason = getattr(error, "error_string", error)
        raise AudioError(
            f"{path}: cannot be read as audio ({reason}); wav, flac, ogg and mp3 files can be read"
        ) from error


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
