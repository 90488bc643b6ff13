"""Mistakes in the HiFT vocoder."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.vocoder import f0_predictor, generator, source, stft
from parity.faults.base import Catalogue, Context, calling
from parity.pair import Pair

CATALOGUE = Catalogue("vocoder")
at = CATALOGUE.at

HIFT = at("hift")
REFLECTION = at("hift.reflection_pad", kind="leaf")
BLOCKS = ("hift.resblocks.*", "hift.source_resblocks.*")
SNAKES = tuple(f"{block}.activations{place}.*" for block in BLOCKS for place in (1, 2))
SNAKE = at(*SNAKES, kind="leaf")
SINES = at("hift.m_source.l_sin_gen", kind="leaf")


def _leaky(old: float, new: float) -> Any:
    """The generator's leaky ReLU with another slope where it has this one: 0.1 in the upsampling loop, 0.01 behind."""
    return lambda x, slope: nn.leaky_relu(x, new if slope == old else slope)


HIFT.calling(
    "leaky-slope-after",
    "The leaky ReLU before conv_post has the loop's slope 0.1 in place of 0.01.",
    generator,
    "functional",
    leaky_relu=_leaky(0.01, 0.1),
)
HIFT.calling(
    "leaky-slope-inside",
    "The leaky ReLUs of the loop have the default slope 0.01 in place of 0.1.",
    generator,
    "functional",
    leaky_relu=_leaky(0.1, 0.01),
)


@REFLECTION.behaving
def reflection_pad(self: Any, x: mx.array) -> mx.array:
    """The reflected frame is missing."""
    return x


@REFLECTION.behaving
def reflection_edge(self: Any, x: mx.array) -> mx.array:
    """The padded frame is a copy of the first in place of the second."""
    return mx.concatenate([x[:, :1], x], axis=1)


@HIFT.wrapping(generator.HiFTGenerator, "decode")
def resblock_mean(original: Any, self: Any, mel: mx.array, source: mx.array) -> mx.array:
    """The residual blocks of a level are added up in place of averaged."""
    x, spectrum = self.conv_pre(mel), self.stft.forward(source.squeeze(-1))
    for level, up in enumerate(self.ups):
        x = up(nn.leaky_relu(x, self.config.lrelu_slope))
        x = self.reflection_pad(x) if level == len(self.ups) - 1 else x
        x = x + self.source_resblocks[level](self.source_downs[level](spectrum))
        x = sum((block(x) for block in self.resblocks[3 * level + 1 : 3 * level + 3]), self.resblocks[3 * level](x))
    magnitude, phase = mx.split(self.conv_post(nn.leaky_relu(x, 0.01)), 2, axis=-1)
    magnitude, phase = mx.minimum(mx.exp(magnitude), generator.MAX_MAGNITUDE), mx.sin(phase)
    wav = self.stft.inverse(mx.concatenate([magnitude * mx.cos(phase), magnitude * mx.sin(phase)], axis=-1))
    return mx.clip(wav, -self.config.audio_limit, self.config.audio_limit)


@HIFT.wrapping(stft.STFT, "_window")
def istft_window(original: Any, self: Any) -> np.ndarray:
    """The window is the symmetric Hann window in place of the periodic one."""
    return np.hanning(self.n_fft)


@HIFT.wrapping(stft.STFT, "inverse")
def istft_normalization(original: Any, self: Any, spectrum: mx.array) -> mx.array:
    """The overlapping windows are not divided out of the inverse transform."""
    overlap = np.square(self._window()).reshape(-1, self.hop).sum(axis=0)
    return original(self, spectrum) * float(overlap.mean())


@HIFT.wrapping(stft.STFT, "inverse")
def istft_imaginary_sign(original: Any, self: Any, spectrum: mx.array) -> mx.array:
    """The imaginary part of the inverse transform has the wrong sign."""
    real, imaginary = mx.split(spectrum, 2, axis=-1)
    return original(self, mx.concatenate([real, -imaginary], axis=-1))


@HIFT.switching
def phase_without_sine(pair: Pair) -> Context:
    """The network's phase is taken as it is, without its sine."""
    calls: list[int] = []

    def sine(x: mx.array) -> mx.array:
        calls.append(1)
        return x if len(calls) % 2 == 1 else mx.sin(x)  # the first of a decoding is the phase, the second its part

    return calling(generator, "functional", sin=sine)


@SNAKE.behaving
def snake_square(self: Any, x: mx.array) -> mx.array:
    """Snake adds sin(a x) / a in place of sin(a x)^2 / a."""
    return x + mx.sin(x * self.alpha) / (self.alpha + 1e-9)


@SNAKE.behaving
def snake_log_alpha(self: Any, x: mx.array) -> mx.array:
    """Snake's alpha is taken for a logarithm, as BigVGAN stores it."""
    alpha = mx.exp(self.alpha)
    return x + mx.square(mx.sin(x * alpha)) / (alpha + 1e-9)


@at(*BLOCKS).behaving
def resblock_residual(self: Any, x: mx.array, cache: None) -> mx.array:
    """The residual blocks lack their residual connections."""
    for parts in zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True):
        for part in parts:
            x = part(x)
    return x


at(*(f"{block}.convs1.{place}" for block in BLOCKS for place in (1, 2)), kind="leaf").setting(
    "resblock-dilation", "The dilated convolutions are not dilated.", dilation=1
)
at("hift.conv_pre", kind="weights").setting(
    "weight-norm-gain",
    "The weight norm's direction is used without its gain.",
    weight=lambda weight: weight / mx.sqrt(mx.square(weight).sum(axis=(1, 2), keepdims=True)),
)
at("hift.ups.0", kind="weights").setting(
    "transposed-kernel",
    "The kernel of a transposed convolution is reversed in time.",
    weight=lambda weight: weight[:, ::-1],
)


@at("hift.ups.1", kind="leaf").behaving
def transposed_padding(self: Any, x: mx.array) -> mx.array:
    """A transposed convolution is cut at its end alone, which shifts it."""
    return mx.roll(self(x), self.padding, 1)


at("hift.f0_predictor").calling(
    "f0-without-abs",
    "The predicted f0 may be negative: its absolute value is not taken.",
    f0_predictor,
    "mx",
    abs=lambda x: x,
)


@SINES.wrapping(source, "linear_upsample")
def source_phase_interpolation(original: Any, x: mx.array, scale: int, begin: int, end: int, first: int) -> mx.array:
    """The phase is repeated in place of interpolated to the sample rate."""
    return mx.repeat(x[:, begin - first : end - first], scale, axis=1)


@SINES.wrapping(source.SineGen2, "sines")
def source_phase_every_sample(original: Any, self: Any, harmonics: mx.array, *piece: Any) -> mx.array:
    """The phase is summed at the sample rate, as in CosyVoice 1."""
    turns = mx.remainder(harmonics / self.sampling_rate, 1.0)
    return mx.sin(source.exact_cumsum(turns).astype(mx.float32) * source.TURN_UNIT * 2 * math.pi)


SINES.setting("source-noise", "The noise is as loud in voiced as in unvoiced frames.", noise_std=lambda std: 0.1 / 3)
SINES.calling(
    "source-harmonics",
    "The harmonics are counted from the second on.",
    source,
    "mx",
    arange=lambda start, stop, dtype: mx.arange(start + 1, stop + 1, dtype=dtype),
)


@at("hift.m_source.l_tanh", kind="leaf").behaving
def source_tanh(self: Any, x: mx.array) -> mx.array:
    """The merged source lacks its tanh."""
    return x


at(*SNAKES, kind="weights").setting(
    "snake-alpha-missing", "Snake's alpha stays at its initial value 1.", alpha=mx.ones_like
)


#: Those that show where the vocoder is loud.
LOUD = Catalogue("vocoder_loud")
LOUD_HIFT = LOUD.at("hift")


LOUD_HIFT.calling(
    "no-limit", "Samples are not held within the audio limit.", generator, "mx", clip=lambda x, low, high: x
)
LOUD_HIFT.patching("magnitude-limit", "Magnitudes are not limited to 100.", generator, "MAX_MAGNITUDE", math.inf)
