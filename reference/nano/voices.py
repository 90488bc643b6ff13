"""Who says it: four voices of `flite` in variants of pitch, rate and size of the speaker, two each held out."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

#: What `flite` gives.
RATE = 16000
#: Of the pauses before and after, as much is left; seconds.
LEAD, TAIL = 0.06, 0.1

#: Voice -> mean F0 that its variants take turns with, in Hz; None leaves it as it is (rms cannot be told).
PITCHES: dict[str, tuple[int | None, ...]] = {
    "slt": (None, 160, 200),
    "awb": (None, 115, 150),
    "rms": (None,),
    "kal16": (None, 90, 125),
}
#: Factors on all frequencies, which make another speaker, and on durations: of training, and held out.
WARPS, HELD_WARPS = (0.93, 0.96, 1.0, 1.04, 1.08), (0.945, 1.06)
STRETCHES = (1.0, 1.15, 0.9)


@dataclass(frozen=True)
class Variant:
    """A way to speak.

    Attributes:
        voice: of `flite`.
        pitch: mean F0 in Hz, before the warp.
        stretch: factor on durations.
        warp: factor on all frequencies.
        held_out: never trained on.
    """

    voice: str
    pitch: int | None
    stretch: float
    warp: float
    held_out: bool


def _variants() -> Iterator[Variant]:
    for voice, pitches in PITCHES.items():
        for index in range(2 * len(WARPS)):
            pitch, stretch = pitches[index % len(pitches)], STRETCHES[(index + 1) // 2 % len(STRETCHES)]
            yield Variant(voice, pitch, stretch, WARPS[index % len(WARPS)], False)
        for index, warp in enumerate(HELD_WARPS):
            yield Variant(voice, pitches[index % len(pitches)], STRETCHES[0], warp, True)


VARIANTS = tuple(_variants())


@dataclass(frozen=True)
class Said:
    """wave [samples] float32 at `RATE`, the phones, and where each ends, in seconds."""

    wave: np.ndarray
    phones: list[str]
    ends: list[float]


def say(text: str, variant: Variant) -> Said:
    """Speak `text`.

    Raises:
        FileNotFoundError: `flite` is not installed.
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        options = ["-voice", variant.voice, "--setf", f"duration_stretch={variant.stretch * variant.warp:.4f}"]
        if variant.pitch is not None:
            options += ["--seti", f"int_f0_target_mean={variant.pitch}"]
        command = ["flite", *options, "-psdur", "-t", text, "-o", str(path)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wave, rate = soundfile.read(path, dtype="float32")
    # What was made at `rate` is played faster, by the warp.
    wave = soxr.resample(wave, rate * variant.warp, RATE)
    phones, times = zip(*(part.split(":") for part in printed.split()), strict=True)
    ends = [float(time) / variant.warp for time in times]
    start, stop = ends[0] - LEAD, ends[-2] + TAIL
    kept = [(phone, end - start) for phone, end in zip(phones, ends, strict=True) if phone != "pau"]
    wave = wave[max(0, int(start * RATE)) : int(stop * RATE)]
    return Said(np.ascontiguousarray(wave), [phone for phone, _ in kept], [end for _, end in kept])
