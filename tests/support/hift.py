"""The vocoder's golden run: configuration, inputs, and how far float32 itself can be trusted there."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch

from mlx_cosyvoice.config import F0PredictorConfig, HiFTConfig
from reference import hift
from reference.synthetic import recipe
from tests.support.golden import as_torch, recipe_state_dict

FRAMES, SAMPLES = 60, 28800
CACHED = 3840

CONFIGS = {
    "tiny": HiFTConfig(base_channels=64, f0_predictor=F0PredictorConfig(cond_channels=32)),
    "full": HiFTConfig(),
}


class Inputs(NamedTuple):
    """In the official layout: mel [1, 80, T], rand_ini [1, 9], sine_noise [1, 480 T, 9]."""

    mel: torch.Tensor
    rand_ini: torch.Tensor
    sine_noise: torch.Tensor

    @property
    def tape(self) -> dict[str, torch.Tensor]:
        return {"rand_ini": self.rand_ini, "sine_noise": self.sine_noise}


def golden_inputs(frames: int = FRAMES) -> Inputs:
    arrays: tuple[np.ndarray, ...] = (
        recipe.unit("input/mel", (1, 80, frames)) * 2 - 5,
        (recipe.uniform("noise/rand_ini", (1, 9)) + 1) / 2,
        recipe.unit("noise/sine", (1, 480 * frames, 9)),
    )
    return Inputs(*map(torch.from_numpy, arrays))


def reference_model(size: str) -> hift.HiFTGenerator:
    model = hift.build(as_mapping(CONFIGS[size]))
    model.load_state_dict(as_torch(recipe_state_dict(f"hift.{size}")), strict=True)
    return model


def as_mapping(config: HiFTConfig) -> dict[str, Any]:
    return dataclasses.asdict(config)


def source_floor(model: hift.HiFTGenerator, inputs: Inputs) -> float:
    """What float32 costs in the source, seen in the waveform: max abs difference between the float32 reference and
    the same decoder fed with f0 and source computed in float64.

    float32 rounds f0 by some 2e-4 Hz, differently on every CPU. The ninth harmonic's phase adds that up over the
    utterance, and is itself rounded by up to 1e-3 rad near the end.
    """
    exact = copy.deepcopy(model).double()
    with torch.inference_mode():
        wav, _ = model.inference(inputs.mel, **inputs.tape)
        f0 = exact.f0_predictor(inputs.mel.double())
        source = exact.source(f0, inputs.rand_ini.double(), inputs.sine_noise.double())
        return float((model.decode(inputs.mel, source.float()) - wav).abs().max())
