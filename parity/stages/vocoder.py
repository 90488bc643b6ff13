"""Mel to waveform: F0, the harmonic source, and the generator, each on the reference's own input."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.sides import Side
from parity.stages.base import Arrays, Outputs, Settings, Stage
from parity.tape import Tape

SAMPLES_PER_FRAME = 480
SINES = 9


def draws(tape: Tape, frames: int) -> dict[str, np.ndarray]:
    """The random numbers of a source of so many frames: `rand_ini` and `sine_noise`."""
    sine_noise = tape.normal("vocoder/sine_noise", (1, frames * SAMPLES_PER_FRAME, SINES))
    return {"rand_ini": tape.uniform("vocoder/rand_ini", (1, SINES)), "sine_noise": sine_noise}


def f0(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`f0` of `mel`."""
    mel = side.array(inputs["mel"], channels_first=True)
    return {"f0": side.official(side.module.f0_predictor(mel))}


def source(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`source` of `f0` and the `draws`."""
    arrays = (side.array(inputs[name]) for name in ("f0", "rand_ini", "sine_noise"))
    return {"source": side.official(side.module.source(*arrays), channels_first=True)}


def generated(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`wav` of `mel` and `source`."""
    arrays = (side.array(inputs[name], channels_first=True) for name in ("mel", "source"))
    return {"wav": side.official(side.module.decode(*arrays))}


def whole(side: Side, inputs: Arrays) -> np.ndarray:
    """The wave of `mel` and the `draws`: each part goes on from what the one before made."""
    made = dict(inputs)
    for part in (f0, source, generated):
        made |= part(side, made)
    return made["wav"]


class Vocoder(Stage):
    name = "vocoder"
    title = "Vocoder"
    component = "hift"
    needs = ("mel",)
    gives = ("f0", "source", "wav")

    def prepare(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> dict[str, Any]:
        made = f0(side, inputs)
        made |= source(side, made | draws(tape, inputs["mel"].shape[2]))
        return {"reference_f0": made["f0"], "reference_source": made["source"]}

    def call(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> Outputs:
        right = {"mel": inputs["mel"], "f0": inputs["reference_f0"], "source": inputs["reference_source"]}
        right |= draws(tape, inputs["mel"].shape[2])
        return Outputs(f0(side, right) | source(side, right) | generated(side, right))
