"""No streaming: the whole utterance at once, with full attention, and at another speed if that is wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding.cross_fade import official_vocoder
from mlx_cosyvoice.decoding.decoder import SourceNoise, check_open, check_tokens
from mlx_cosyvoice.flow.cfm import check_timesteps
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.nn.interpolation import interpolate, sample_positions
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator

#: Beyond these speech cannot be understood any more, so another value is taken for a mistake.
SLOWEST, FASTEST = 0.25, 4.0


def check_speed(speed: float) -> float:
    """`speed` as a float.

    Raises:
        ValueError: it is not a number from 0.25 to 4.
    """
    if not (math.isfinite(speed) and SLOWEST <= speed <= FASTEST):
        raise ValueError(f"speed must be from {SLOWEST:g} to {FASTEST:g} (1 is as it was learned), not {speed}")
    return float(speed)


def change_speed(mel: mx.array, speed: float) -> mx.array:
    """Speak faster or slower at the same pitch: resample a mel in time, linearly.

    Args:
        mel: [1, T, 80], T >= 1.
        speed: 2 speaks twice as fast.

    Returns:
        [1, int(T / speed), 80], at least one frame; as torch's F.interpolate(mode="linear", align_corners=False).

    Raises:
        ValueError: a speed that is not from 0.25 to 4.
    """
    frames = mel.shape[1]
    wanted = max(1, int(frames / check_speed(speed)))
    if wanted == frames:
        return mel
    return interpolate(mel, sample_positions(float(np.float32(frames) / np.float32(wanted)), 0, wanted))


@dataclass(frozen=True)
class OfflineState:
    """An utterance that is being collected. `token`: all that have come."""

    prompt: Prompt
    noise: SourceNoise
    token: tuple[int, ...] = ()
    ended: bool = False


class OfflineDecoder:
    """`tts` of the models in `cosyvoice.cli.model` with `stream=False`: tokens are collected and spoken at the end.

    Args:
        flow: speech tokens to mel.
        hift: mel to samples.
        n_timesteps: Euler steps of the flow.
        speed: of speech, from 0.25 to 4.
    """

    def __init__(
        self,
        flow: CausalMaskedDiff,
        hift: HiFTGenerator | CausalHiFTGenerator,
        *,
        n_timesteps: int = 10,
        speed: float = 1.0,
    ) -> None:
        self.flow, self.n_timesteps, self.speed = flow, check_timesteps(n_timesteps), check_speed(speed)
        self.vocoder = official_vocoder(hift)

    def start(self, prompt: Prompt, noise: SourceNoise) -> OfflineState:
        """The state of an utterance without tokens."""
        return OfflineState(prompt, noise)

    def due(self, state: OfflineState) -> None:
        """Everything is said at the end."""
        return None

    def step(self, state: OfflineState, token: Sequence[int], *, final: bool) -> tuple[mx.array, OfflineState]:
        """Collect any number of tokens or, in the final step, speak all [n], 480 samples a frame; else as `Decoder`."""
        check_open(state.ended)
        state = replace(state, token=state.token + check_tokens(token, self.flow.vocab_size), ended=final)
        if not final or not state.token:
            return mx.zeros((0,)), state
        mel = self.flow(
            mx.array([state.token], dtype=mx.int32),
            *state.prompt.arrays,
            streaming=False,
            finalize=True,
            n_timesteps=self.n_timesteps,
        )
        wav, _ = self.vocoder.step(self.vocoder.start(), change_speed(mel, self.speed), state.noise, final=True)
        return wav, state
