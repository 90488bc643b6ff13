"""Silence at the ends of a prompt, which the model would take for a way to speak."""

from __future__ import annotations

import warnings
from dataclasses import replace

from mlx_cosyvoice.audio.errors import AudioWarning
from mlx_cosyvoice.audio.level import loud_span
from mlx_cosyvoice.audio.load import MIN_SECONDS, Recording, check_length

#: What is so far below the loudest frame is silence. Upstream's web page cut at the same level, with librosa, until
#: December 2025; its library never did. So what is short stays, and gives the same voice as there.
SILENCE_DB = 60.0
#: What is so far below it is no voice but the noise of a room.
QUIET_DB = 40.0
#: Seconds of silence or noise at an end that are not left as they are.
TOO_LONG = 1.0
#: Seconds of silence that stay where more is cut off. Upstream put as much behind what it had cut.
KEPT = 0.2


def trimmed(recording: Recording) -> Recording:
    """`recording` without silence of more than a second at an end, of which 0.2 s stay.

    Warns:
        AudioWarning: silence was cut off, or an end is so quiet that nobody speaks in it.

    Raises:
        AudioError: less than half a second is left.
    """
    wave, rate = recording.samples, recording.sample_rate
    first, last = loud_span(wave, rate, SILENCE_DB)
    begin = max(0, first - round(KEPT * rate)) if first > TOO_LONG * rate else 0
    end = min(len(wave), last + round(KEPT * rate)) if len(wave) - last > TOO_LONG * rate else len(wave)
    if (begin, end) != (0, len(wave)):
        check_length(recording.name, (last - first) / rate, MIN_SECONDS)
        cut = f"{begin / rate:.1f} s at its start and {(len(wave) - end) / rate:.1f} s at its end"
        _warn(recording.name, f"of silence, {cut} were left out")
        recording = replace(recording, samples=wave[begin:end])
    _look_for_noise(recording)
    return recording


def _look_for_noise(recording: Recording) -> None:
    wave, rate = recording.samples, recording.sample_rate
    first, last = loud_span(wave, rate, QUIET_DB)
    if max(first, len(wave) - last) > TOO_LONG * rate:
        ends = f"{first / rate:.1f} s at its start and {(len(wave) - last) / rate:.1f} s at its end"
        _warn(
            recording.name,
            f"nobody seems to speak in {ends}, which become part of the voice: choose a part of it (start and end; "
            "--start and --end)",
        )


def _warn(name: str, what: str) -> None:
    warnings.warn(f"{name}: {what}", AudioWarning, stacklevel=4)
