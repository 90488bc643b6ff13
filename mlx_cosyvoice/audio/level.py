"""Whether there is sound in samples, and from where to where."""

from __future__ import annotations

import numpy as np

#: -60 dBFS: a recording whose loudest sample lies below is a muted microphone.
SILENCE_PEAK = 1e-3

#: Sound is judged in frames of 20 ms, each less its mean, so that an offset is none, nor where it is switched on.
_FRAME_SECONDS = 0.02
#: Frames with sound that a voice has at least; a click has one or two.
_FEWEST_FRAMES = 5


def silence_of(wave: np.ndarray, sample_rate: int) -> str | None:
    """Why `wave` [samples] is silent, or None if there is sound in it."""
    peak = float(np.abs(wave).max(initial=0))
    if peak < SILENCE_PEAK:
        return f"peak {decibels(peak)} dBFS" if peak > 0 else "peak all zeros"
    length = max(2, round(_FRAME_SECONDS * sample_rate))
    frames = _frames(wave, length)
    span = np.maximum(frames.max(axis=1), -frames.min(axis=1))
    loud = int(np.sum(span >= SILENCE_PEAK))
    if loud >= min(_FEWEST_FRAMES, len(span)):
        return None
    return f"a constant offset of {np.mean(wave):.3g}" if abs(np.mean(wave)) > peak / 2 else "but for a click"


def decibels(level: float) -> int:
    """`level` in dB below full scale."""
    return round(20 * np.log10(level))


def loud_span(wave: np.ndarray, sample_rate: int, below_peak: float) -> tuple[int, int]:
    """Where in `wave` the first and the last sound lie, as (start, end) in samples.

    Args:
        wave: [samples], not silent.
        sample_rate: in Hz.
        below_peak: frames are sound whose level is within so many dB of the loudest frame's.
    """
    length = max(2, round(_FRAME_SECONDS * sample_rate))
    power = np.square(_frames(wave, length)).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-below_peak / 10))
    return int(loud[0]) * length, min(len(wave), (int(loud[-1]) + 1) * length)


def _frames(wave: np.ndarray, length: int) -> np.ndarray:
    """[frames, length], each less its mean; the last is filled up with its mean."""
    whole = len(wave) // length
    frames = wave[: whole * length].reshape(whole, length)
    frames = frames - frames.mean(axis=1, keepdims=True)
    rest = wave[whole * length :]
    if not len(rest):
        return frames
    last = np.zeros((1, length), wave.dtype)
    last[0, : len(rest)] = rest - rest.mean()
    return np.concatenate([frames, last])
