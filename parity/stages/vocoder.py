"""Mel to waveform: F0, the harmonic source, and the generator, each on the reference's own input."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.sides import Side
from parity.stages.base import Arrays, Outputs, Settings, Stage
from parity.tape import Tape

SAMPLES_PER_FRAME = 480
SINES = 9


def f0(side: Side, inputs: Arrays, tape: Tape) -> dict[str, np.ndarray]:
    """`f0` of `mel`."""
    mel = side.array(inputs["mel"], channels_first=True)
    return {"f0": side.official(side.module.f0_predictor(mel))}


def source(side: Side, inputs: Arrays, tape: Tape) -> dict[str, np.ndarray]:
    """`source` of `f0`."""
    pitch = side.array(inputs["f0"])
    draws = (
        tape.uniform("vocoder/rand_ini", (1, SINES)),
        tape.normal("vocoder/sine_noise", (1, pitch.shape[1] * SAMPLES_PER_FRAME, SINES)),
    )
    return {"source": side.official(side.module.source(pitch, *map(side.array, draws)), channels_first=True)}


def generated(side: Side, inputs: Arrays, tape: Tape) -> dict[str, np.ndarray]:
    """`wav` of `mel` and `source`."""
    arrays = (side.array(inputs[name], channels_first=True) for name in ("mel", "source"))
    return {"wav": side.official(side.module.decode(*arrays))}


class Vocoder(Stage):
    name = "vocoder"
    title = "Vocoder"
    component = "hift"
    needs = ("mel",)
    gives = ("f0", "source", "wav")

    def prepare(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> dict[str, Any]:
        made = f0(side, inputs, tape)
        return {"reference_f0": made["f0"], "reference_source": source(side, made, tape)["source"]}

    def call(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> Outputs:
        right = {"mel": inputs["mel"], "f0": inputs["reference_f0"], "source": inputs["reference_source"]}
        return Outputs(f0(side, right, tape) | source(side, right, tape) | generated(side, right, tape))
