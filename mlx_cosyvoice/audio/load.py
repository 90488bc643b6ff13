"""Recordings in: any format, rate and channel count that can be read, as mono float32 at a wanted rate."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from mlx_cosyvoice.audio.decode import HIGHEST_RATE, LOWEST_RATE, Sound, open_sound
from mlx_cosyvoice.audio.errors import AudioError, AudioWarning
from mlx_cosyvoice.audio.level import SILENCE_PEAK, silence_of
from mlx_cosyvoice.audio.source import Source, is_samples, name_of, samples_of

__all__ = ["MAX_PROMPT_SECONDS", "SILENCE_PEAK", "Recording", "load_audio", "read_recording"]

#: What the speech tokenizer accepts at most; the official code refuses longer prompts too.
MAX_PROMPT_SECONDS = 30.0

#: The networks run from 0.06 s on (two frames for the speaker encoder's standard deviation, 31 ms for the mel's
#: reflected ends, one whole speech token), but they cannot hear a voice in less than a syllable or two.
MIN_SECONDS = 0.5

#: Seconds of a recording that is too long which are counted, to tell how long it is.
_LOOK_BEYOND = 10.0

#: Seconds by which a part may end before it should, without a word: people round.
_NEGLIGIBLE = 0.1

#: 20 dB over full scale: a float file may go beyond 1, but this was meant as integers.
_LOUDEST = 10.0


@dataclass(frozen=True)
class Recording:
    """A recording as it was read, once.

    Attributes:
        samples: float32 [samples] in [-1, 1], mono (the mean of the channels).
        sample_rate: of the file, in Hz.
        sha256: hex digest of the whole file, or of the samples where there was none.
        name: what messages call it: the file's path, as the caller wrote it.
    """

    samples: np.ndarray
    sample_rate: int
    sha256: str
    name: str = "the recording"

    @property
    def seconds(self) -> float:
        """Its duration."""
        return len(self.samples) / self.sample_rate

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
    source: Source,
    sample_rate: int,
    *,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Read an audio file as float32 [samples] at `sample_rate`, mono (the mean of its channels), scaled to [-1, 1].

    The official `load_wav` resamples with torchaudio and refuses files below 16 kHz; this one resamples with soxr
    ("HQ"), which differs from torchaudio only near the highest frequencies, and accepts any rate from 4 kHz on.

    Args:
        source: as of `read_recording`; the content decides about the format.
        sample_rate: of the result, in Hz.
        min_seconds: shorter audio is refused.
        max_seconds: longer audio is refused, when so much was decoded; None for no limit.
        start: where to begin, in seconds.
        end: where to end, in seconds; None for the end of the recording.

    Raises:
        AudioError: as of `read_recording`.
        ValueError: `sample_rate` is not positive.
    """
    _check_rate(sample_rate)
    read = read_recording(source, min_seconds=min_seconds, max_seconds=max_seconds, start=start, end=end)
    return read.at(sample_rate)


def read_recording(
    source: Source,
    *,
    sample_rate: int | None = None,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Recording:
    """Read a recording, or a part of it; for those who want it at several rates.

    Args:
        source: a path; the bytes of an audio file; a file object opened in binary mode, which need not be able to
            seek; an array of samples ([samples] or [samples, channels], floats in [-1, 1] or integers) with
            `sample_rate`; or a pair of both.
        sample_rate: of an array, in Hz.
        min_seconds: shorter audio is refused.
        max_seconds: longer audio is refused, when so much was decoded; None for no limit.
        start: where to begin, in seconds.
        end: where to end, in seconds; None for the end of the recording.

    Warns:
        AudioWarning: the file has an unfinished header or another flaw, but was read to its end.

    Raises:
        AudioError: the file is missing, not audio, damaged, empty, too short, too long, silent (no sound above
            `SILENCE_PEAK` once mixed to mono), or holds NaN or infinite samples. The message names the file.
    """
    name = name_of(source)
    check_span(name, start, end)
    if is_samples(source):
        read = _from_samples(source, sample_rate, max_seconds, start, end)
    else:
        read = _from_file(source, max_seconds, start, end)
    check_length(name, read.seconds, min_seconds)
    check_sound(name, read.samples, read.sample_rate)
    return read


def check_span(name: str, start: float, end: float | None) -> None:
    """Refuse a part that cannot be one.

    Raises:
        AudioError: `start` is negative or not before `end`.
    """
    if not (math.isfinite(start) and start >= 0) or (end is not None and not (math.isfinite(end) and end > start)):
        raise AudioError(f"{name}: a part begins at 0 s or later and ends behind its start, not {start:g} to {end} s")


def check_length(name: str, seconds: float, least: float) -> None:
    """Refuse a recording that is shorter than `least` seconds.

    Raises:
        AudioError: it is.
    """
    if not seconds:
        raise AudioError(f"{name}: the audio file is empty (no samples)")
    if seconds < least:
        raise AudioError(f"{name}: {seconds:.3f} s of audio is too short; at least {least:g} s are needed")


def check_sound(name: str, wave: np.ndarray, sample_rate: int) -> None:
    """Refuse `wave` [samples] if nobody can be heard in it.

    Raises:
        AudioError: it is silent, or far louder than full scale.
    """
    if (silence := silence_of(wave, sample_rate)) is not None:
        raise AudioError(f"{name}: the audio is silent ({silence}, mixed to mono); a voice peaks above -60 dBFS")
    if (peak := float(np.abs(wave).max())) > _LOUDEST:
        raise AudioError(f"{name}: float samples must lie in [-1, 1], but they reach {peak:g}: scale them")


def check_finite(name: str, broken: int) -> None:
    """Refuse a recording of which `broken` samples are no numbers.

    Raises:
        AudioError: there are such samples.
    """
    if broken:
        raise AudioError(f"{name}: {broken} samples are NaN or infinite; export the recording again")


def selected(
    name: str, blocks: Iterator[np.ndarray], sample_rate: int, start: float, end: float | None
) -> Iterator[np.ndarray]:
    """The samples from `start` to `end`, in seconds, of all `blocks` [samples].

    Raises:
        AudioError: the recording ends before `start`.
    """
    first = round(start * sample_rate)
    last = None if end is None else round(end * sample_rate)
    place = 0
    for block in blocks:
        stop = None if last is None else max(0, last - place)
        part = block[max(0, first - place) : stop]
        place += len(block)
        if len(part):
            yield part
        if last is not None and place >= last:
            return
    if place and place <= first and start > 0:
        raise AudioError(f"{name}: ends after {place / sample_rate:.2f} s, before the start at {start:g} s")
    if last is not None and place < last - _NEGLIGIBLE * sample_rate:
        warnings.warn(
            f"{name}: ends after {place / sample_rate:.2f} s, before the end at {end:g} s", AudioWarning, stacklevel=2
        )


def _from_file(source: Source, max_seconds: float | None, start: float, end: float | None) -> Recording:
    name = name_of(source)
    until = end if max_seconds is None else min(start + max_seconds + _LOOK_BEYOND, math.inf if end is None else end)
    with open_sound(source, until) as sound:
        blocks = selected(name, sound.blocks(), sound.sample_rate, start, end)
        wave = _collect(blocks, sound, max_seconds)
        check_finite(name, sound.broken)
        return Recording(wave, sound.sample_rate, sound.sha256(), name)


def _collect(blocks: Iterator[np.ndarray], sound: Sound, max_seconds: float | None) -> np.ndarray:
    """All `blocks`; what is beyond `max_seconds` is counted for a while, but not kept."""
    kept, count, rate = [], 0, sound.sample_rate
    for block in blocks:
        count += len(block)
        if max_seconds is None or count <= max_seconds * rate + sound.padding:
            kept.append(block)
        elif count > (max_seconds + _LOOK_BEYOND) * rate:
            raise _too_long(sound.name, f"more than {count / rate:.0f}", max_seconds)
    if max_seconds is not None and count > max_seconds * rate + sound.padding:
        raise _too_long(sound.name, _above(count / rate, max_seconds), max_seconds)
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _above(seconds: float, limit: float) -> str:
    """`seconds`, with as many digits as show that it is more than `limit`."""
    return next((text for digits in range(1, 6) if float(text := f"{seconds:.{digits}f}") > limit), f"{seconds:.6f}")


def _too_long(name: str, seconds: str, limit: float) -> AudioError:
    return AudioError(
        f"{name}: {seconds} s of audio is too long; at most {limit:g} s are allowed, so choose a part of it "
        "(start and end; --start and --end)"
    )


def _from_samples(
    source: Source, sample_rate: int | None, max_seconds: float | None, start: float, end: float | None
) -> Recording:
    name = name_of(source)
    samples, rate = samples_of(source, sample_rate)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name}: sample_rate is {rate} Hz, must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    parts = list(selected(name, iter([samples]), rate, start, end))
    chosen = np.concatenate(parts) if parts else samples[:0]
    if max_seconds is not None and len(chosen) > max_seconds * rate:
        raise _too_long(name, _above(len(chosen) / rate, max_seconds), max_seconds)
    check_finite(name, int(np.sum(~np.isfinite(chosen))))
    wave = chosen.mean(axis=1)
    return Recording(wave, rate, hashlib.sha256(wave.tobytes()).hexdigest(), name)


def _check_rate(sample_rate: int) -> None:
    if sample_rate <= 0:
        raise ValueError(f"sample_rate must be positive, not {sample_rate}")
