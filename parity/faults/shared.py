"""Mistakes that can be made in several families: what they do. Each catalogue enters them under names of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.nn.cache import Cache
from parity.faults.base import Place
from parity.pieces import STEPS

#: Frames of a chunk.
CHUNK = 50


# the time embedding


def time_unscaled(self: Any, t: mx.array) -> mx.array:
    return self(t / 1000)


def cosines_first(self: Any, t: mx.array) -> mx.array:
    sine, cosine = mx.split(self(t), 2, axis=-1)
    return mx.concatenate([cosine, sine], axis=-1)


def rates_by_half(self: Any, t: mx.array) -> mx.array:
    """With 1 / half in place of 1 / (half - 1)."""
    half = self.width // 2
    angle = 1000 * t[:, None] * mx.exp(mx.arange(half) * (-np.log(10000) / half))
    return mx.concatenate([mx.sin(angle), mx.cos(angle)], axis=-1)


# the lookahead layer


def vocoders_slope(x: mx.array, slope: float) -> mx.array:
    return nn.leaky_relu(x, 0.1)


def residual_dropped(self: Any, x: mx.array, context: mx.array | None, cache: Any = None) -> mx.array:
    return self(x, context, cache) - x


# the flow in pieces


def starting_noise_anew(original: Any, self: Any, frames: int, noise: mx.array | None) -> mx.array:
    full = original(self, frames, noise)
    return full if noise is not None else mx.tile(full[:, :CHUNK], (1, -(-frames // CHUNK), 1))[:, :frames]


def prompt_one_late(original: Any, self: Any, feat: mx.array, frames: int) -> mx.array:
    return mx.roll(original(self, feat, frames), 1, 1)


def steps_exchanged(original: Any, cache: Cache | None, name: str, chunk: int) -> Cache | None:
    first = cache is None or cache.past is None
    return original(cache, name if first else str(STEPS - 1 - int(name)), chunk)


# the causal vocoder in pieces


def noise_beginning(place: Place, name: str, mistake: str, start: Callable[[int, int], int]) -> None:
    """Enter a fault in which the noise of a piece begins at another sample: `start(own start, samples)`."""

    def step(original: Any, self: Any, state: Any, mel: mx.array, noise: Any, *, final: bool) -> Any:
        return original(self, state, mel, lambda samples, begin: noise(samples, start(begin, samples)), final=final)

    place.wraps(name, mistake, CausalVocoder, "step", step)
