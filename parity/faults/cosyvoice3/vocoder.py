"""Mistakes in the causal HiFT vocoder."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.nn.interpolation import interpolate, sample_positions
from mlx_cosyvoice.vocoder import causal_f0_predictor, causal_source, generator, source, stft
from mlx_cosyvoice.vocoder.source import linear_upsample
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("vocoder")
at = CATALOGUE.at

HIFT, F0 = at("hift"), at("hift.f0_predictor")
SINES = at("hift.m_source.l_sin_gen", kind="leaf")
CONDNET = tuple(f"hift.f0_predictor.condnet.{place}" for place in (0, 2, 4, 6, 8))
BLOCKS = ("hift.resblocks.*", "hift.source_resblocks.*")
BLOCK_CONVS = tuple(f"{block}.convs{place}.*" for block in BLOCKS for place in (1, 2))


# what convolutions see


def padded_left(self: Any, x: mx.array, context: mx.array | None = None) -> mx.array:
    """A layer that looks ahead, run on what lies before each frame."""
    known = x if context is None else mx.concatenate([x, context], axis=1)
    return self(mx.pad(known, [(0, 0), (self.reach, 0), (0, 0)])[:, : known.shape[1]])[:, : x.shape[1]]


@at("hift.conv_pre", kind="leaf").behaving
def conv_pre_behind(self: Any, x: mx.array, context: mx.array | None = None) -> mx.array:
    """conv_pre is padded on the left, as all others are, where it looks at the four frames after each."""
    return padded_left(self, x, context)


@at("hift.conv_pre", kind="leaf").behaving
def conv_pre_around(self: Any, x: mx.array, context: mx.array | None = None) -> mx.array:
    """conv_pre is padded on both sides, as CosyVoice2's is."""
    side = self.reach // 2
    return self(mx.pad(x, [(0, 0), (side, 0), (0, 0)])[:, : x.shape[1]])


@at("hift.f0_predictor.condnet.0", kind="leaf").behaving
def first_f0_layer_behind(self: Any, x: mx.array, context: mx.array | None = None) -> mx.array:
    """The first layer of the f0 predictor is padded on the left, where it looks at the three frames after each."""
    return padded_left(self, x, context)


@at("hift.f0_predictor.condnet.2", kind="leaf").behaving
def second_f0_layer_ahead(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """The second layer of the f0 predictor is padded on the right, as the first is."""
    ahead = mx.pad(x, [(0, 0), (0, self.pad[0]), (0, 0)])
    return self(ahead)[:, self.pad[0] :]


@at("hift.conv_post", kind="leaf").behaving
def conv_post_around(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """conv_post is padded on both sides."""
    side = self.pad[0] // 2
    return self(mx.pad(x, [(0, 0), (0, side), (0, 0)]))[:, side:]


@at(*BLOCK_CONVS, kind="leaf").behaving
def resblocks_around(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """The convolutions of the residual blocks are padded on both sides, as CosyVoice2's are."""
    side = self.pad[0] // 2
    return self(mx.pad(x, [(0, 0), (0, side), (0, 0)]))[:, side:]


@at("hift.resblocks.*.convs1.1", "hift.resblocks.*.convs1.2", kind="leaf").behaving
def dilation_not_padded(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """Dilated convolutions are padded by their kernel alone: what they lack of frames is added at the end."""
    lacking = self.pad[0] - self.pad[0] // self.dilation
    return mx.pad(self(x)[:, lacking:], [(0, 0), (0, lacking), (0, 0)])


@at("hift.source_downs.0", "hift.source_downs.1", kind="leaf").behaving
def source_downs_around(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """The source is padded by half a stride on both sides before it is brought to a level's rate."""
    half = self.stride // 2
    return self(mx.pad(x, [(0, 0), (0, half), (0, 0)])[:, self.stride - 1 - half :])


# the upsampling


def _linear(x: mx.array, scale: int) -> mx.array:
    return interpolate(x, sample_positions(1 / scale, 0, scale * x.shape[1]))


@at(*(f"hift.ups.{level}.upsample" for level in range(3)), kind="leaf").behaving
def ups_linear(self: Any, x: mx.array) -> mx.array:
    """Frames are interpolated before the convolutions of the upsampling, where they are repeated."""
    return _linear(x, self.scale)


@at(*(f"hift.ups.{level}.upsample" for level in range(3)), kind="leaf").behaving
def ups_with_zeros(self: Any, x: mx.array) -> mx.array:
    """Zeros are put between frames, as a transposed convolution does, where frames are repeated."""
    mask = mx.arange(x.shape[1] * self.scale) % self.scale == 0
    return mx.where(mask[None, :, None], self(x), 0.0)


@at("hift.ups.0", "hift.ups.1", "hift.ups.2").behaving
def ups_around(self: Any, x: mx.array, cache: Any = None) -> mx.array:
    """The convolutions of the upsampling are padded on both sides."""
    before = self.pad
    try:
        self.pad = (before[0] - before[0] // 2, before[0] // 2)
        return self(x, cache)
    finally:
        self.pad = before


# f0


F0.calling(
    "f0-signed", "f0 may be negative: its absolute value is not taken.", causal_f0_predictor, "mx", abs=lambda x: x
)


def _float32_conv(conv: Any, x: mx.array) -> mx.array:
    """A convolution of the f0 predictor in float32, its weight norm too."""
    weight = conv.weight * (conv.gain / mx.sqrt(mx.square(conv.weight).sum(axis=(1, 2))))[:, None, None]
    return mx.conv1d(x, weight, stream=mx.cpu) + conv.bias


@at(*CONDNET, kind="leaf").wrapping(causal_f0_predictor.Float64Conv1d, "convolved")
def f0_in_float32(original: Any, self: Any, x: mx.array) -> mx.array:
    """The f0 predictor computes in float32, whose errors the phase adds up."""
    return _float32_conv(self, x.astype(mx.float32)).astype(mx.float64)


@at(*CONDNET, kind="leaf").wrapping(causal_f0_predictor.Float64Conv1d, "convolved")
def f0_weights_in_float32(original: Any, self: Any, x: mx.array) -> mx.array:
    """The weight norm of the f0 predictor is folded in float32, and only then is computed in float64."""
    weight = self.weight * (self.gain / mx.sqrt(mx.square(self.weight).sum(axis=(1, 2))))[:, None, None]
    taps = weight.astype(mx.float64).transpose(1, 2, 0)
    length = x.shape[1] - len(taps) + 1
    y = sum((x[:, tap : tap + length] @ taps[tap] for tap in range(1, len(taps))), x[:, :length] @ taps[0])
    return y + self.bias


@at(*CONDNET, kind="leaf").wrapping(causal_f0_predictor.Float64Conv1d, "convolved")
def f0_in_bfloat16(original: Any, self: Any, x: mx.array) -> mx.array:
    """The f0 predictor reads what was rounded to bfloat16."""
    return original(self, x.astype(mx.bfloat16).astype(mx.float64))


@at(*(f"hift.f0_predictor.condnet.{place}" for place in (1, 3, 5, 7, 9)), kind="leaf").behaving
def f0_relu(self: Any, x: mx.array) -> mx.array:
    """ReLU stands in the f0 predictor for ELU."""
    with mx.stream(mx.cpu):
        return mx.maximum(x, 0)


# the excitation


@SINES.wrapping(causal_source.CausalSineGen2, "stretched")
def phase_linear(original: Any, self: Any, phase: mx.array, start: int, end: int, first: int) -> mx.array:
    """The phase is interpolated to the sample rate, as in CosyVoice2, where it stands still within a frame."""
    return linear_upsample(phase, self.upsample_scale, start, end, first)


@SINES.wrapping(causal_source.CausalSineGen2, "sines")
def phase_of_every_sample(original: Any, self: Any, harmonics: mx.array, *piece: Any) -> mx.array:
    """The phase is summed at the sample rate, so that sines are smooth."""
    turns = mx.remainder(harmonics / self.sampling_rate, 1.0)
    return mx.sin(source.exact_cumsum(turns).astype(mx.float32) * source.TURN_UNIT * 2 * math.pi)


@SINES.wrapping(causal_source.CausalSineGen2, "stretched")
def phase_one_frame_late(original: Any, self: Any, phase: mx.array, *piece: Any) -> mx.array:
    """The phase of a frame does not count that frame."""
    return original(self, mx.concatenate([mx.zeros_like(phase[:, :1]), phase[:, :-1]], axis=1), *piece)


@SINES.wrapping(causal_source.CausalSineGen2, "_mixed")
def noise_centered(original: Any, self: Any, sines: mx.array, f0: mx.array, noise: mx.array) -> mx.array:
    """The uniform noise is brought to -1..1, where it is 0..1."""
    return original(self, sines, f0, 2 * noise - 1)


@SINES.wrapping(causal_source.CausalSineGen2, "_mixed")
def noise_made_normal(original: Any, self: Any, sines: mx.array, f0: mx.array, noise: mx.array) -> mx.array:
    """Normal noise is made of the uniform one (mean 0, deviation 1), as CosyVoice2 has it."""
    return original(self, sines, f0, (noise - 0.5) * math.sqrt(12))


@SINES.wrapping(causal_source.CausalSineGen2, "_mixed")
def noise_everywhere(original: Any, self: Any, sines: mx.array, f0: mx.array, noise: mx.array) -> mx.array:
    """Voiced frames have as much noise as those without a voice."""
    voiced = (f0 > self.voiced_threshold).astype(mx.float32)
    return original(self, sines, f0, noise) + voiced * (self.sine_amp / 3 - self.noise_std) * noise


@at("hift.f0_upsamp", kind="leaf").behaving
def f0_interpolated(self: Any, x: mx.array) -> mx.array:
    """f0 is interpolated to the sample rate, where it is repeated."""
    return _linear(x, self.scale)


# the generator


@at(*(f"{block}.activations{place}.*" for block in BLOCKS for place in (1, 2)), kind="leaf").behaving
def snake_not_squared(self: Any, x: mx.array) -> mx.array:
    """Snake adds sin(a x) / a in place of sin(a x)^2 / a."""
    return x + mx.sin(x * self.alpha) / (self.alpha + 1e-9)


@at("hift.reflection_pad", kind="leaf").behaving
def zero_for_reflection(self: Any, x: mx.array) -> mx.array:
    """Before the last level a frame of zeros is added, where the second frame is mirrored."""
    return mx.pad(x, [(0, 0), (1, 0), (0, 0)])


HIFT.calling(
    "slope-of-the-loop-behind-it",
    "The leaky ReLU before conv_post has the loop's slope 0.1 in place of 0.01.",
    generator,
    "functional",
    leaky_relu=lambda x, slope: nn.leaky_relu(x, 0.1),
)


@HIFT.wrapping(stft.STFT, "_window")
def window_symmetric(original: Any, self: Any) -> np.ndarray:
    """The window of the transforms is the symmetric Hann window in place of the periodic one."""
    return np.hanning(self.n_fft)


@HIFT.wrapping(stft.STFT, "samples")
def window_once(original: Any, self: Any, spectrum: mx.array, begin: int, end: int) -> mx.array:
    """The overlapping windows are not divided out of the inverse transform."""
    overlap = np.square(self._window()).reshape(-1, self.hop).sum(axis=0)
    return original(self, spectrum, begin, end) * float(overlap.mean())


@HIFT.wrapping(generator.Generator, "spectra")
def magnitude_not_exponential(original: Any, self: Any, x: mx.array, spectrum: mx.array, cache: Any = None) -> mx.array:
    """The log magnitude is taken for the magnitude."""
    made = original(self, x, spectrum, cache)
    real, imaginary = mx.split(made, 2, axis=-1)
    magnitude = mx.sqrt(mx.square(real) + mx.square(imaginary))
    return made * mx.concatenate([mx.log(magnitude + 1e-20) / (magnitude + 1e-20)] * 2, axis=-1)
