"""The causal vocoder's golden run: configuration, inputs, and the mistake of which there are numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np

from mlx_cosyvoice.config import CausalHiFTConfig, F0PredictorConfig
from mlx_cosyvoice.vocoder import causal_source
from mlx_cosyvoice.vocoder.source import linear_upsample
from reference import causal_hift
from reference.synthetic import recipe
from tests.support.golden import golden

FRAMES = 60
#: Frames after a frame that f0, and that the waveform depends on.
F0_AHEAD, WAV_AHEAD = 3, 8
#: The official stream's calls: frames known, and whether they are all.
CALLS = ((21, False), (22, False), (43, False), (60, True))

CONFIGS = {
    "tiny": CausalHiFTConfig(base_channels=64, f0_predictor=F0PredictorConfig(cond_channels=32)),
    "full": CausalHiFTConfig(),
}


def mel(frames: int = FRAMES) -> np.ndarray:
    """[1, 80, T], as of the golden run where it has so many frames."""
    return recipe.unit("input/mel", (1, 80, FRAMES))[:, :, :frames] * np.float32(3) - np.float32(3)


def draws(frames: int = FRAMES) -> dict[str, np.ndarray]:
    """The recipe's noise for the first so many frames: rand_ini [1, 9], sine_noise [1, 480 T, 9]."""
    named = {"rand_ini": ("noise/rand_ini", (1, 9)), "sine_noise": ("noise/sine", (1, 480 * frames, 9))}
    return {name: (recipe.uniform(*drawn) + 1) / 2 for name, drawn in named.items()}


def spoken_mel(size: str, run: str) -> np.ndarray:
    """[1, 80, 426], what the vocoder saw in a run of the official loop: "offline", or "stream" in the order spoken."""
    return golden(f"stream3.{size}")[f"{run}/mel"]


def phase_stretched_linearly(side: str) -> AbstractContextManager[Any]:
    """As CosyVoice2 does it."""
    if side == "pytorch":
        return mock.patch.object(causal_hift.CausalSineGen2, "stretching", "linear")
    return mock.patch.object(
        causal_source.CausalSineGen2,
        "stretched",
        lambda self, phase, *piece: linear_upsample(phase, self.upsample_scale, *piece),
    )
