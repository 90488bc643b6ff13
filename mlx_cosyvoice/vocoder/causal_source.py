"""The excitation of the causal vocoder."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.vocoder.source import SineGen2


class CausalSineGen2(SineGen2):
    """`m_source.l_sin_gen`, the official `SineGen2` with `causal=True`: the phase stands still within a frame.

    Each harmonic is so a staircase of 50 steps a second. Its noise is uniform in [0, 1).
    """

    reach, uniform = 0, True

    def stretched(self, phase: mx.array, start: int, end: int, first: int) -> mx.array:
        return mx.repeat(phase, self.upsample_scale, axis=1)
