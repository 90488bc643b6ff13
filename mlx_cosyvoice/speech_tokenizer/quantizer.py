"""Finite scalar quantization: 8 numbers, each rounded to -1, 0 or 1, are the base-3 digits of a token."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.nn import Module

DIGITS, LEVELS = 8, 3
#: Keeps tanh away from the rounding edge at 1.
SHRINK = 0.9990000128746033


def codes(before_rounding: mx.array) -> mx.array:
    """[..., 8] values in (-1, 1) -> [...] int32 tokens in [0, 6561); the first value is the lowest digit."""
    digits = mx.round(before_rounding).astype(mx.int32) + 1
    powers = mx.array([LEVELS**place for place in range(DIGITS)], dtype=mx.int32)
    return (digits * powers).sum(axis=-1)


class FSQCodebook(Module):
    """`quantizer._codebook`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_down = nn.Linear(width, DIGITS)

    def __call__(self, x: mx.array) -> mx.array:
        """[B, T, width] -> [B, T, 8] in (-1, 1) before rounding, float32 whatever the weights are."""
        return mx.tanh(self.project_down(x).astype(mx.float32)) * SHRINK

    def encode(self, before_rounding: mx.array) -> mx.array:
        """`codes` of what a call has returned."""
        return codes(before_rounding)


class FSQVectorQuantization(Module):
    """`quantizer`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._codebook = FSQCodebook(width)

    def __call__(self, x: mx.array) -> mx.array:
        return self._codebook(x)

    def encode(self, before_rounding: mx.array) -> mx.array:
        """[B, T, 8] -> tokens [B, T] int32."""
        return self._codebook.encode(before_rounding)
