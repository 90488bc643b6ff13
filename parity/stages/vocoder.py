"""Mel to waveform: F0, the harmonic source, and the generator, each given the reference's own input."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import torch

from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape

SAMPLES_PER_FRAME = 480
SINES = 9


class Vocoder(Stage):
    name = "vocoder"
    title = "Vocoder"
    component = "hift"
    needs = ("mel",)
    gives = ("f0", "source", "wav")

    @staticmethod
    def _draws(tape: Tape, frames: int) -> tuple[np.ndarray, np.ndarray]:
        sine_noise = tape.normal("vocoder/sine_noise", (1, frames * SAMPLES_PER_FRAME, SINES))
        return tape.uniform("vocoder/rand_ini", (1, SINES)), sine_noise

    def prepare(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> dict[str, Any]:
        mel = tensor(given["mel"], dtype)
        f0 = module.f0_predictor(mel)
        source = module.source(f0, *(tensor(draw, dtype) for draw in self._draws(tape, mel.shape[2])))
        return {"given_f0": f0.numpy(), "given_source": source.numpy()}

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        mel, f0, source = (tensor(given[name], dtype) for name in ("mel", "given_f0", "given_source"))
        draws = (tensor(draw, dtype) for draw in self._draws(tape, mel.shape[2]))
        outputs = {
            "f0": module.f0_predictor(mel),
            "source": module.source(f0, *draws),
            "wav": module.decode(mel, source),
        }
        return Outputs(tensors={name: value.to(torch.float64).numpy() for name, value in outputs.items()})

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        mel = mx.array(given["mel"].transpose(0, 2, 1))
        draws = (mx.array(draw) for draw in self._draws(tape, mel.shape[1]))
        source = module.source(mx.array(given["given_f0"]), *draws)
        wav = module.decode(mel, mx.array(given["given_source"].transpose(0, 2, 1)))
        return Outputs(
            tensors={
                "f0": np.array(module.f0_predictor(mel)),
                "source": np.array(source).transpose(0, 2, 1),
                "wav": np.array(wav),
            }
        )
