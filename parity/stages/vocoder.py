"""Mel to waveform: F0, the harmonic source, and the generator, each on the reference's own input."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from mlx_parity.tape import Tape
from parity.sides import entry
from parity.stages.base import Arrays, Given, Outputs, Stage

#: How many frames are made so loud that magnitudes and samples reach their limits; by what their log mel is raised to
#: find out how far, at most that often; and the share of samples at their limit that is enough.
LOUD_FRAMES, LOUDER, MOST, ENOUGH = 24, 8.0, 8, 0.25


def samples_per_frame(hift: Any) -> int:
    """Of the vocoder of either side."""
    return hift.m_source.l_sin_gen.upsample_scale


def noise(hift: Any, tape: Tape, samples: int, stage: str, run: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The random numbers of a source of so many samples, in a run of a stage: `rand_ini` and `sine_noise`."""
    sines = hift.m_source.l_linear.weight.shape[1]
    rand_ini = tape.uniform(f"{stage}/rand_ini{run}", (1, sines))
    draw = tape.uniform if hift.m_source.l_sin_gen.uniform else tape.normal
    return rand_ini, draw(f"{stage}/sine_noise{run}", (1, samples, sines))


def draws(hift: Any, tape: Tape, frames: int) -> dict[str, np.ndarray]:
    """Those of a source of so many frames, by name."""
    arrays = noise(hift, tape, frames * samples_per_frame(hift), "vocoder")
    return dict(zip(("rand_ini", "sine_noise"), arrays, strict=True))


def f0(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`f0` of `mel`."""
    mel = side.array(inputs["mel"], channels_first=True)
    return {"f0": side.numpy(side.module.f0_predictor(mel))}


def source(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`source` of `f0` and the `draws`."""
    arrays = (side.array(inputs[name]) for name in ("f0", "rand_ini", "sine_noise"))
    return {"source": side.numpy(side.module.source(*arrays), channels_first=True)}


def generated(side: Side, inputs: Arrays) -> dict[str, np.ndarray]:
    """`wav` of `mel` and `source`."""
    arrays = (side.array(inputs[name], channels_first=True) for name in ("mel", "source"))
    return {"wav": side.numpy(side.module.decode(*arrays))}


def whole(side: Side, inputs: Arrays) -> np.ndarray:
    """The wave of `mel` and the `draws`: each part goes on from what the one before made."""
    made = dict(inputs)
    for part in (f0, source, generated):
        made |= part(side, made)
    return made["wav"]


class Vocoder(Stage):
    """The vocoder's own call, in which F0 and source are answered with the reference's."""

    name = "vocoder"
    title = "Vocoder"
    component = "hift"
    needs = ("mel",)
    gives = ("f0", "source", "wav")

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        made = f0(side, given)
        made |= source(side, made | draws(side.module, given.tape, given["mel"].shape[2]))
        return {"reference_f0": made["f0"], "reference_source": made["source"]}

    def call(self, side: Side, given: Given) -> Outputs:
        made: dict[str, np.ndarray] = {}

        def answer(call: ModuleCall) -> Any:
            made["f0"] = side.numpy(call.args[0])
            call.args = (side.array(given["reference_f0"]), *call.args[1:])
            made["source"] = side.numpy(call.run(), channels_first=True)
            return right

        right = side.array(given["reference_source"], channels_first=True)
        drawn = {
            name: side.array(array) for name, array in draws(side.module, given.tape, given["mel"].shape[2]).items()
        }
        with intercepted({"hift": side.module}, answer, "source"):
            wav, _ = getattr(side.module, entry(side))(side.array(given["mel"], channels_first=True), **drawn)
        return Outputs({**made, "wav": side.numpy(wav)})


class LoudVocoder(Stage):
    """The vocoder's generator, so loud that it limits what it makes."""

    name = "vocoder_loud"
    title = "Vocoder, loud"
    component = "hift"
    needs = ("mel", "source")
    modes = (None,)

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        mel = given["mel"][:, :, :LOUD_FRAMES]
        source = given["source"][:, :, : mel.shape[2] * samples_per_frame(side.module)]
        return {"loud_mel": _raised(side, {"mel": mel, "source": source}), "loud_source": source}

    def call(self, side: Side, given: Given) -> Outputs:
        return Outputs(generated(side, {"mel": given["loud_mel"], "source": given["loud_source"]}))


def _raised(side: Side, inputs: Arrays) -> np.ndarray:
    """`mel`, louder until enough of the reference's samples are at their limit, or until they are not finite."""
    loud = inputs["mel"]
    for _ in range(MOST):
        louder = loud + np.float32(LOUDER)
        wav = np.abs(generated(side, {**inputs, "mel": louder})["wav"])
        if not np.isfinite(wav).all():
            break
        loud = louder
        if np.mean(wav == wav.max()) > ENOUGH:
            break
    return loud
