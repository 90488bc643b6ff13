"""A recording of any length in pieces, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import numpy as np

from mlx_cosyvoice.audio.decode import Sound, open_sound
from mlx_cosyvoice.audio.level import silence_of
from mlx_cosyvoice.audio.load import (
    MAX_PROMPT_SECONDS,
    MIN_SECONDS,
    Recording,
    check_finite,
    check_length,
    check_sound,
    check_span,
    read_recording,
    selected,
)
from mlx_cosyvoice.audio.source import Source, is_samples, name_of

#: A cut lies at the quietest place that is between so many seconds from the start of a piece. What is left behind the
#: latest is at least half a second.
EARLIEST_CUT, LATEST_CUT = 15.0, 29.5

#: How long a place is that is judged, in seconds: a gap between words.
_GAP = 0.2
#: Cuts lie on a grid of speech tokens, in seconds, so that no piece loses a part of one at its end.
_GRID = 0.04


def recording_pieces(
    source: Source,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Generator[Recording, None, None]:
    """A recording in pieces of at most 30 s, cut where it is quiet; one that is not longer comes whole.

    Args:
        source: as of `read_recording`, and so the rest.
        sample_rate: of an array, in Hz.
        start: where to begin, in seconds.
        end: where to end, in seconds; None for the end of the recording.

    Yields:
        The pieces, in order; together they are the recording. Their `sha256` is empty.

    Raises:
        AudioError: as `read_recording`, the first time that a piece is asked for if the recording cannot be read at
            all, later where the file is damaged there. A long recording may be silent in places, but not on the whole.
    """
    name = name_of(source)
    check_span(name, start, end)
    if is_samples(source):
        whole = read_recording(source, sample_rate=sample_rate, start=start, end=end)
        yield from _pieces(name, [whole.samples], whole.sample_rate)
        return
    with open_sound(source, end) as sound:
        _check(name, _of_sound(sound, start, end))
        yield from _of_sound(sound.again(), start, end)


def _check(name: str, pieces: Iterable[Recording]) -> None:
    """Look for a voice, no further than to the first sound."""
    seconds, piece = 0.0, None
    for piece in pieces:
        seconds += piece.seconds
        if seconds >= MIN_SECONDS and silence_of(piece.samples, piece.sample_rate) is None:
            break
    check_length(name, seconds, MIN_SECONDS)
    assert piece is not None
    check_sound(name, piece.samples, piece.sample_rate)


def _of_sound(sound: Sound, start: float, end: float | None) -> Iterator[Recording]:
    blocks = selected(sound.name, sound.blocks(), sound.sample_rate, start, end)
    for piece in _pieces(sound.name, blocks, sound.sample_rate):
        check_finite(sound.name, sound.broken)
        yield piece


def _pieces(name: str, blocks: Iterable[np.ndarray], rate: int) -> Iterator[Recording]:
    most = int(MAX_PROMPT_SECONDS * rate)
    held: list[np.ndarray] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        while count > most:
            wave = np.concatenate(held)
            cut = quietest(wave[: int(LATEST_CUT * rate)], rate)
            yield Recording(wave[:cut], rate, "", name)
            held, count = [wave[cut:]], count - cut
    if count:
        yield Recording(np.concatenate(held), rate, "", name)


def quietest(wave: np.ndarray, rate: int) -> int:
    """The middle of the quietest gap of `wave` [samples] behind its first 15 s, on the grid of speech tokens."""
    grid = round(_GRID * rate)
    first = round(EARLIEST_CUT / _GRID)
    cells = wave[first * grid : len(wave) // grid * grid].reshape(-1, grid)
    power = np.square(cells - cells.mean(axis=1, keepdims=True)).mean(axis=1, dtype=np.float64)
    width = round(_GAP / _GRID)
    gaps = np.convolve(power, np.ones(width), mode="valid")
    place = len(gaps) - 1 - int(np.argmin(gaps[::-1]))  # the last of equals: pieces are long
    return (first + place + (width + 1) // 2) * grid
