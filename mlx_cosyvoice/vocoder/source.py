"""The vocoder's excitation: a sum of harmonics of f0, and noise where the voice is silent. Always float32."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.config import HiFTConfig
from mlx_cosyvoice.nn import Module, Tanh, functional

#: Turns are summed as whole multiples of this, see `exact_cumsum`.
TURN_UNIT = 2.0**-40


class Upsample(Module):
    """`f0_upsamp`: repeats every frame `scale` times. [B, T, C] to [B, scale T, C]."""

    official_axes = "bct"

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def __call__(self, x: mx.array) -> mx.array:
        return mx.repeat(x, self.scale, axis=1)


def exact_cumsum(turns: mx.array) -> mx.array:
    """The running sum over axis 1 of float32 values in [0, 2), without accumulated rounding.

    PyTorch sums float32 in double precision on the CPU; this gives the same float32 numbers on devices that have no
    double, by summing 64-bit integers. Bits of a value below 2^-40 are dropped: they are less than a ten thousandth
    of the last bit of a sum of one turn.
    """
    whole = (turns * (1 / TURN_UNIT)).astype(mx.int64)
    return mx.cumsum(whole, axis=1).astype(mx.float32) * TURN_UNIT


def linear_downsample(x: mx.array, scale: int) -> mx.array:
    """torch's linear interpolation (align_corners=False) by 1 / scale, along axis 1 of [B, scale T, C].

    The centre of `scale` samples lies half way between the two in the middle for an even scale, and on the one in
    the middle for an odd scale.
    """
    batch, length, channels = x.shape
    frames = x.reshape(batch, length // scale, scale, channels)
    return (frames[:, :, (scale - 1) // 2] + frames[:, :, scale // 2]) * 0.5


def fused_multiply_add(a: mx.array, b: mx.array, c: mx.array) -> mx.array:
    """a * b + c in float32 as if rounded once, for a and b well below float32's largest value (Dekker, 1971)."""

    def halves(x: mx.array) -> tuple[mx.array, mx.array]:
        shifted = x * 4097.0  # 2^12 + 1: keeps the upper 12 of 24 bits
        upper = shifted - (shifted - x)
        return upper, x - upper

    (a_upper, a_lower), (b_upper, b_lower) = halves(a), halves(b)
    product, total = a * b, a * b + c
    lost_in_product = (a_upper * b_upper - product + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower
    added = total - product
    lost_in_sum = (product - (total - added)) + (c - added)
    return total + (lost_in_sum + lost_in_product)


def linear_upsample(x: mx.array, scale: int) -> mx.array:
    """torch's linear interpolation (align_corners=False) by `scale`, along axis 1 of [B, T, C].

    Rounds where PyTorch does: positions to float32 once, and the weighted sum by one fused multiply-add. Late in a
    long signal the phase is so large that its last bit is more than the parity bounds allow, so it has to be the same.
    """
    frames = x.shape[1]
    step = np.float64(np.float32(1 / scale))
    position = np.maximum((step * (np.arange(frames * scale) + 0.5) - 0.5).astype(np.float32), 0)
    left = np.minimum(position.astype(np.int32), frames - 1)
    right = np.minimum(left + 1, frames - 1)
    weight = (position - left.astype(np.float32))[:, None]
    second = x[:, mx.array(right)] * mx.array(weight)
    return fused_multiply_add(x[:, mx.array(left)], mx.array(1 - weight), second)


class SineGen2(Module):
    """`m_source.l_sin_gen`: sines at the harmonics of f0, with noise.

    The phase is summed at the mel frame rate and stretched to the sample rate. It is not wrapped before the sine, so
    float32 rounds it by up to 0.002 rad after a second of speech; the order of operations here is the official one,
    because another order rounds differently.
    """

    def __init__(self, config: HiFTConfig, upsample_scale: int) -> None:
        super().__init__()
        self.sampling_rate = config.sampling_rate
        self.upsample_scale = upsample_scale
        self.harmonics = config.nb_harmonics + 1
        self.sine_amp = config.nsf_alpha
        self.noise_std = config.nsf_sigma
        self.voiced_threshold = config.nsf_voiced_threshold

    def sines(self, harmonics: mx.array, rand_ini: mx.array) -> mx.array:
        """sin of the running phase of `harmonics` (Hz, [B, L, H]); same shape."""
        turns = mx.remainder(harmonics / self.sampling_rate, 1.0)
        # The initial phases are added to sample 0 only, which the down-sampling below never picks (it averages the
        # two middle samples of each frame): the official code draws them to no effect.
        initial = mx.concatenate([mx.zeros_like(rand_ini[:, :1]), rand_ini[:, 1:]], axis=1)
        turns = turns.at[:, 0].add(initial)

        phase = exact_cumsum(linear_downsample(turns, self.upsample_scale)) * 2 * math.pi
        return functional.sin(linear_upsample(phase * self.upsample_scale, self.upsample_scale))

    def __call__(self, f0: mx.array, rand_ini: mx.array, sine_noise: mx.array) -> mx.array:
        """f0 [B, L, 1] in Hz at the sample rate, rand_ini [B, H] in turns, sine_noise [B, L, H]. Gives [B, L, H]."""
        f0, rand_ini, sine_noise = (x.astype(mx.float32) for x in (f0, rand_ini, sine_noise))
        numbers = mx.arange(1, self.harmonics + 1, dtype=mx.float32)
        return self.mixed(self.sines(f0 * numbers, rand_ini), f0, sine_noise)

    def mixed(self, sines: mx.array, f0: mx.array, sine_noise: mx.array) -> mx.array:
        """Sines [B, L, H] where f0 [B, L, 1] is voiced, and noise [B, L, H]: little there, and more elsewhere."""
        voiced = (f0 > self.voiced_threshold).astype(mx.float32)
        noise_amp = voiced * self.noise_std + (1 - voiced) * self.sine_amp / 3
        return sines * self.sine_amp * voiced + noise_amp * sine_noise


class SourceModuleHnNSF(Module):
    """`m_source`: merges the harmonics into one excitation signal.

    The official module also draws noise for a second branch, which the network never reads; it is left out.
    """

    def __init__(self, config: HiFTConfig, upsample_scale: int) -> None:
        super().__init__()
        self.l_sin_gen = SineGen2(config, upsample_scale)
        self.l_linear = nn.Linear(config.nb_harmonics + 1, 1)
        self.l_tanh = Tanh()

    def __call__(self, f0: mx.array, rand_ini: mx.array, sine_noise: mx.array) -> mx.array:
        """f0 [B, L, 1] in Hz at the sample rate; gives [B, L, 1], float32."""
        return self.l_tanh(self.l_linear(self.l_sin_gen(f0, rand_ini, sine_noise)))
