"""The vocoder's excitation: a sum of harmonics of f0, and noise where the voice is silent. Always float32."""

from __future__ import annotations

import math
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import HiFTConfig
from mlx_cosyvoice.nn import Module, Tanh, functional
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.nn.interpolation import interpolate, sample_positions

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
    """The running sum over axis 1 of float32 values in [0, 2) as int64 multiples of `TURN_UNIT`.

    PyTorch sums float32 in double precision on the CPU; whole numbers lose nothing either, on devices that have no
    double. Bits of a value below 2^-40 are dropped: they are less than a ten thousandth of the last bit of a sum of one
    turn.
    """
    return mx.cumsum((turns * (1 / TURN_UNIT)).astype(mx.int64), axis=1)


def linear_downsample(x: mx.array, scale: int) -> mx.array:
    """torch's linear interpolation (align_corners=False) by 1 / scale, along axis 1 of [B, scale T, C].

    The center of `scale` samples lies half way between the two in the middle for an even scale, and on the one in
    the middle for an odd scale.
    """
    batch, length, channels = x.shape
    frames = x.reshape(batch, length // scale, scale, channels)
    return (frames[:, :, (scale - 1) // 2] + frames[:, :, scale // 2]) * 0.5


def linear_upsample(x: mx.array, scale: int, begin: int, end: int, first: int) -> mx.array:
    """torch's linear interpolation (align_corners=False) by `scale`, along axis 1 of [B, T, C].

    Late in a long signal the phase is so large that its last bit is more than the parity bounds allow, so positions are
    rounded as in PyTorch.

    Args:
        x: frames of a signal.
        scale: samples of a frame.
        begin: the first frame that is upsampled, counted from the start of the signal.
        end: the frame before which it ends.
        first: which frame of the signal x starts with; a sample needs the frame before and the frame after it.

    Returns:
        [B, (end - begin) scale, C].
    """
    return interpolate(x, sample_positions(1 / scale, begin * scale, end * scale), first)


class SineGen2(Module):
    """`m_source.l_sin_gen`: sines at the harmonics of f0, with noise.

    The phase is summed at the mel frame rate and stretched to the sample rate. It is not wrapped before the sine, so
    float32 rounds it by up to 0.002 rad after a second of speech; the order of operations here is the official one,
    because another order rounds differently.
    """

    #: How many frames to both sides of a frame its phase depends on.
    reach: ClassVar[int] = 1
    #: Whether the noise is uniform in [0, 1), and not standard normal.
    uniform: ClassVar[bool] = False

    def __init__(self, config: HiFTConfig, upsample_scale: int) -> None:
        super().__init__()
        self.sampling_rate = config.sampling_rate
        self.upsample_scale = upsample_scale
        self.harmonics = config.nb_harmonics + 1
        self.sine_amp = config.nsf_alpha
        self.noise_std = config.nsf_sigma
        self.voiced_threshold = config.nsf_voiced_threshold

    def sines(self, harmonics: mx.array, rand_ini: mx.array, start: int, end: int, cache: Cache | None) -> mx.array:
        """sin of the running phase of `harmonics` (Hz, [B, L, H]), from frame `start` to `end`."""
        scale, first = self.upsample_scale, max(start - self.reach, 0)
        turns = mx.remainder(harmonics / self.sampling_rate, 1.0)
        if not start:
            # The initial phases are added to sample 0 only, which the down-sampling below never picks (it averages
            # the two middle samples of each frame): the official code draws them to no effect.
            initial = mx.concatenate([mx.zeros_like(rand_ini[:, :1]), rand_ini[:, 1:]], axis=1)
            turns = turns.at[:, 0].add(initial)

        sums = exact_cumsum(linear_downsample(turns, scale))
        if cache is not None:
            sums = self._continued(sums, end - self.reach - first, cache)
        phase = sums.astype(mx.float32) * TURN_UNIT * 2 * math.pi
        return functional.sin(self.stretched(phase * scale, start, end, first))

    def stretched(self, phase: mx.array, start: int, end: int, first: int) -> mx.array:
        """The phase of frames from `first` on [B, F, H] at the samples from frame `start` to `end`."""
        return linear_upsample(phase, self.upsample_scale, start, end, first)

    @staticmethod
    def _continued(sums: mx.array, count: int, cache: Cache) -> mx.array:
        """The sums [B, F, H] after what the cache holds, which gets that of the first `count` frames."""
        before = cache.recalled()
        start = mx.zeros_like(sums[:, :1]) if before is None else before
        sums = start + sums
        cache.remember(mx.concatenate([start, sums], axis=1)[:, count : count + 1])
        return sums

    def __call__(
        self, f0: mx.array, rand_ini: mx.array, sine_noise: mx.array, *, start: int = 0, cache: Cache | None = None
    ) -> mx.array:
        """A signal, or one piece of it.

        Args:
            f0: [B, L, 1] in Hz at the sample rate. That of a piece reaches `reach` frames further to both sides, as
                far as there are frames: the phase is interpolated between the middles of frames.
            rand_ini: [B, H] in turns.
            sine_noise: [B, N, H], as long as the piece; N is L without a cache.
            start: the frame that the piece starts with.
            cache: the pieces before.

        Returns:
            [B, N, H].
        """
        f0, rand_ini, sine_noise = (x.astype(mx.float32) for x in (f0, rand_ini, sine_noise))
        numbers = mx.arange(1, self.harmonics + 1, dtype=mx.float32)
        length, scale = sine_noise.shape[1], self.upsample_scale
        sines = self.sines(f0 * numbers, rand_ini, start, start + length // scale, cache)
        before = self.reach * scale if start else 0
        return self._mixed(sines, f0[:, before : before + length], sine_noise)

    def _mixed(self, sines: mx.array, f0: mx.array, sine_noise: mx.array) -> mx.array:
        """Sines [B, L, H] where f0 [B, L, 1] is voiced, and noise [B, L, H]: little there, and more elsewhere."""
        voiced = (f0 > self.voiced_threshold).astype(mx.float32)
        noise_amp = voiced * self.noise_std + (1 - voiced) * self.sine_amp / 3
        return sines * self.sine_amp * voiced + noise_amp * sine_noise


class SourceModuleHnNSF(Module):
    """`m_source`: merges the harmonics into one excitation signal.

    The official module also draws noise for a second branch, which the network never reads; it is left out.
    """

    def __init__(self, sin_gen: SineGen2) -> None:
        super().__init__()
        self.l_sin_gen = sin_gen
        self.l_linear = nn.Linear(sin_gen.harmonics, 1)
        self.l_tanh = Tanh()

    def __call__(
        self, f0: mx.array, rand_ini: mx.array, sine_noise: mx.array, *, start: int = 0, cache: Cache | None = None
    ) -> mx.array:
        """Arguments as of `l_sin_gen`; gives [B, N, 1], float32."""
        return self.l_tanh(self.l_linear(self.l_sin_gen(f0, rand_ini, sine_noise, start=start, cache=cache)))
