"""`flow.decoder`, CausalConditionalCFM: from noise to mel in a few Euler steps with classifier-free guidance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.config import CFMConfig, DiTCFMConfig
from mlx_cosyvoice.flow.masks import chunk_mask
from mlx_cosyvoice.nn import Module
from mlx_cosyvoice.nn.cache import Cache, part_of
from mlx_cosyvoice.nn.official import Rule

FRAMES_PER_SECOND = 50
#: The official noise: torch.randn(1, 80, 15000) after torch.manual_seed(0).
NOISE_FRAMES = 300 * FRAMES_PER_SECOND


def check_timesteps(n_timesteps: int) -> int:
    """The number of Euler steps.

    Raises:
        ValueError: it is less than 1.
    """
    if n_timesteps < 1:
        raise ValueError(f"n_timesteps must be at least 1, not {n_timesteps}")
    return n_timesteps


def euler_schedule(n_timesteps: int) -> list[tuple[float, float]]:
    """The (time, step) pairs of the solver on 1 - cos(pi t / 2), in the float32 arithmetic of the official loop.

    Raises:
        ValueError: `n_timesteps` is less than 1.
    """
    angles = np.linspace(0, 1, check_timesteps(n_timesteps) + 1, dtype=np.float32) * np.float32(np.pi / 2)
    # rounded once, as PyTorch's: NumPy's own float32 cosine is a last bit off at one of ten steps
    times = 1 - np.cos(angles.astype(np.float64)).astype(np.float32)
    schedule = []
    t = times[0]
    for end in times[1:]:
        dt = end - t
        schedule.append((float(t), float(dt)))
        t = t + dt
    return schedule


def with_unconditioned(array: mx.array) -> mx.array:
    """[1, ...] -> [2, ...]: entry 0 is the array; entry 1, the unconditioned one of the guidance, holds zeros."""
    return mx.concatenate([array, mx.zeros_like(array)])


class CausalConditionalCFM(Module):
    """`flow.decoder`; `estimator` is the network of `config.estimator`, and is called as `CausalConditionalDecoder` is.

    `rand_noise` [1, 15000, 80] float32 is the noise that every official synthesis starts from. It is no part of
    `flow.pt`: who converts supplies it as the official tensor `decoder.rand_noise` [1, 80, 15000].
    """

    official_axes = "bct"

    def __init__(self, config: CFMConfig | DiTCFMConfig, estimator: Any) -> None:
        super().__init__()
        self.inference_cfg_rate = config.inference_cfg_rate
        self.rand_noise = mx.zeros((1, NOISE_FRAMES, config.estimator.out_channels))
        self.estimator = estimator

    def rules(self) -> dict[str, Rule]:
        return {"rand_noise": Rule(("rand_noise",), lambda noise: noise.transpose(0, 2, 1))}

    def starting_noise(self, frames: int, noise: mx.array | None) -> mx.array:
        """The first `frames` frames of `noise` or, if it is None, of `rand_noise`: [1, frames, 80] float32.

        Raises:
            ValueError: there is less noise than that.
        """
        source = self.rand_noise if noise is None else noise
        if source.shape[1] < frames:
            seconds = [count / FRAMES_PER_SECOND for count in (frames, source.shape[1])]
            raise ValueError(
                f"prompt and speech make {frames} mel frames ({seconds[0]:.1f} s), but there is noise for "
                f"{source.shape[1]} ({seconds[1]:.0f} s) only: split the text, or pass a longer `noise`"
            )
        return source[:, :frames].astype(mx.float32)

    def __call__(
        self,
        mu: mx.array,
        spks: mx.array,
        cond: mx.array,
        *,
        n_timesteps: int = 10,
        noise: mx.array | None = None,
        streaming: bool,
        cache: Cache | None = None,
    ) -> mx.array:
        """Solve from noise to mel.

        Args:
            mu: [1, T, 80] the encoder's features; with a cache T is at most `estimator.static_chunk_size`.
            spks: [1, 80] speaker.
            cond: [1, T, 80] the prompt's mel, zeros after it.
            n_timesteps: Euler steps.
            noise: [1, >= T, 80] to start from; None for the official one, from its first frame on.
            streaming: attend in chunks of `estimator.static_chunk_size` frames instead of to everything.
            cache: the chunks before; only while streaming.

        Returns:
            [1, T, 80] float32. The state of the solver is float32 whatever the weights are.

        Raises:
            ValueError: `n_timesteps` is less than 1, or the noise is shorter than `mu`.
        """
        frames, dtype, chunk = mu.shape[1], self.estimator.dtype, self.estimator.static_chunk_size
        x = self.starting_noise(frames, noise)
        mask = chunk_mask(frames, chunk if streaming and cache is None else 0)
        mu, spks, cond = (with_unconditioned(array.astype(dtype)) for array in (mu, spks, cond))
        rate = self.inference_cfg_rate
        for index, (t, dt) in enumerate(euler_schedule(n_timesteps)):
            past = part_of(cache, str(index), chunk)
            both = mx.broadcast_to(x.astype(dtype), (2, *x.shape[1:]))
            velocity = self.estimator(both, mu, mx.full((2,), t), spks, cond, mask=mask, cache=past).astype(mx.float32)
            x = x + dt * ((1 + rate) * velocity[:1] - rate * velocity[1:])
            mx.eval(x, [] if past is None else list(past.state.arrays()))  # bounds the graph, and so memory, to a step
        return x
