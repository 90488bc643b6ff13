"""Mistakes in the offline decoder: what it asks of the flow, and the speed of speech."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding import offline
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("offline")
SPEED, FLOW = CATALOGUE.at("offline.change_speed"), CATALOGUE.at("offline.flow")


@SPEED.wrapping(offline, "change_speed")
def speed_inverted(original: Any, mel: mx.array, speed: float) -> mx.array:
    """A higher speed speaks slower."""
    return original(mel, 1 / speed)


@SPEED.wrapping(offline, "sample_positions")
def speed_aligned_corners(original: Any, scale: float, first: int, count: int) -> Any:
    """The mel is resampled half a frame off, as with the corners aligned."""
    return original(scale, first, count) + 0.5


@SPEED.wrapping(offline, "change_speed")
def speed_rounded(original: Any, mel: mx.array, speed: float) -> mx.array:
    """The number of frames is rounded up, where upstream cuts it off."""
    frames = mel.shape[1]
    return original(mel, frames / (int(frames / speed) + 1)) if speed != 1 else mel


@FLOW.wrapping(offline.OfflineDecoder, "__init__")
def offline_steps(original: Any, self: Any, flow: CausalMaskedDiffWithXvec, hift: Any, **options: Any) -> None:
    """The number of Euler steps that is asked for never reaches the flow."""
    original(self, flow, hift, **{**options, "n_timesteps": 10})
