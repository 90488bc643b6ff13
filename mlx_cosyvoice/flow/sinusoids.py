"""Sinusoids of the time of an Euler step, and the rates at which those of time and of positions turn."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.nn import Module


def rates(exponents: np.ndarray, factor: float) -> mx.array:
    """exp(exponents * factor) as float32 [n], rounded once after a product in float32, as PyTorch has it.

    Angles are hundreds of these, so that a last bit here is the same error in every frame, which the phase of the
    vocoder then adds up over the utterance. MLX's own exp misses the last bit of two in three.
    """
    product = exponents.astype(np.float32) * np.float32(factor)
    return mx.array(np.exp(product.astype(np.float64)).astype(np.float32))


class SinusoidalPosEmb(Module):
    """`estimator.time_embeddings`: times in 0..1, [B] float32, to [B, width] float32 sinusoids of 1000 t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def __call__(self, t: mx.array) -> mx.array:
        half = self.width // 2
        rate = rates(np.arange(half), -math.log(10000) / (half - 1))
        angle = 1000 * t[:, None] * rate[None, :]
        return mx.concatenate([mx.sin(angle), mx.cos(angle)], axis=-1)
