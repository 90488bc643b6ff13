"""CosyVoice3's golden streaming run, and how far float32 itself can be trusted there."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference import causal_hift
from reference.causal_hift import CausalHiFTGenerator, split
from tests.support import flow_dit, hift3
from tests.support.golden import as_torch, golden, recipe_state_dict
from tests.support.hift import as_mapping
from tests.support.stream import assert_run, run

#: More frames than any golden run has.
FRAMES = 512


def draw(samples: int) -> tuple[Tensor, Tensor]:
    """The head of the fixed noise."""
    draws = hift3.draws(FRAMES)
    return torch.from_numpy(draws["rand_ini"]), torch.from_numpy(draws["sine_noise"][:, :samples])


@cache
def reference_vocoder(size: str, dtype: torch.dtype = torch.float32) -> CausalHiFTGenerator:
    vocoder = causal_hift.build(as_mapping(hift3.CONFIGS[size]))
    vocoder.load_state_dict(as_torch(recipe_state_dict(f"hift3.{size}")), strict=True)
    return vocoder.to(dtype)


class Recorder(CausalHiFTGenerator):
    """A vocoder that keeps what it was given, whole mels and whether they are final."""

    def __init__(self, size: str) -> None:
        super().__init__(as_mapping(hift3.CONFIGS[size]))
        self.load_state_dict(as_torch(recipe_state_dict(f"hift3.{size}")), strict=True)
        self.calls: list[tuple[Tensor, bool]] = []

    def inference(self, mel: Tensor, *, finalize: bool = True, **draws: Any) -> tuple[Tensor, Tensor]:
        self.calls.append((mel, finalize))
        return super().inference(mel.float(), finalize=finalize, **draws)


@cache
def reference_run(name: str, size: str, dtype: torch.dtype = torch.float32) -> tuple[list[np.ndarray], list[Any]]:
    """The pieces [1, samples] of a golden run, and the calls of its vocoder; the flow works in `dtype`."""
    vocoder = Recorder(size)
    return run(name, flow_dit.reference_flow(size, dtype), vocoder, draw, dtype), vocoder.calls


@cache
@torch.inference_mode()
def source_floor(name: str, size: str) -> float:
    """What float32 costs in the source, seen in the waveform, as `tests.support.stream.source_floor`."""
    vocoder, exact = reference_vocoder(size), reference_vocoder(size, torch.float64)
    calls = zip(reference_run(name, size)[1], reference_run(name, size, torch.float64)[1], strict=True)
    return max(_difference(vocoder, exact, mel, double, final) for (mel, final), (double, _) in calls)


def _difference(vocoder: Any, exact: Any, mel: Tensor, double: Tensor, final: bool) -> float:
    reach = vocoder.f0_predictor.reach
    (known, _), (whole, context) = split(mel, reach, final), split(double, reach, final)
    rand_ini, sine_noise = draw(480 * known.shape[2])
    wav, _ = vocoder.inference(mel, rand_ini=rand_ini, sine_noise=sine_noise, finalize=final)
    source = exact.source(exact.f0_predictor(whole, context), rand_ini.double(), sine_noise.double())
    return float((vocoder.decode(known, source.float(), final) - wav).abs().max())


def assert_official(name: str, size: str, pieces: list[np.ndarray]) -> None:
    """Pieces [1, samples] of a golden run: the official lengths and waveform."""
    assert_run(golden(f"stream3.{size}"), name, pieces, 2e-3, lambda: source_floor(name, size))
