"""Mistakes in the offline decoder: what it asks of the flow, and the speed of speech."""

from __future__ import annotations

from mlx_cosyvoice.decoding import offline
from parity.faults.base import Mistakes, at

SPEED = at("offline.change_speed")

MISTAKES: Mistakes = {
    "speed-inverted: A higher speed speaks slower.": SPEED.edits(
        "check_speed(speed)", "check_speed(1 / speed)", of=offline.change_speed
    ),
    "speed-aligned-corners: The mel is resampled half a frame off, as with the corners aligned.": SPEED.edits(
        "0, wanted)", "0, wanted) + 0.5", of=offline.change_speed
    ),
    "speed-rounded: The number of frames is rounded up, where upstream cuts it off.": SPEED.edits(
        "int(frames / check_speed(speed))", "int(frames / check_speed(speed)) + (speed != 1)", of=offline.change_speed
    ),
    "offline-steps: The number of Euler steps that is asked for never reaches the flow.": at("offline.flow").edits(
        "n_timesteps=self.n_timesteps", "n_timesteps=10", of=offline.OfflineDecoder.step
    ),
}
