"""Mistakes in the HiFT vocoder."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.vocoder import f0_predictor, generator, source, stft
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("vocoder")
fault = CATALOGUE.add

BLOCKS = ("hift.resblocks.*", "hift.source_resblocks.*")
SNAKES = tuple(f"{block}.activations{place}.*" for block in BLOCKS for place in (1, 2))
SINES = "hift.m_source.l_sin_gen"


def _leaky(slope_inside: float | None, slope_after: float | None) -> Context:
    """Other slopes of the generator's leaky ReLUs: inside the upsampling loop, and before `conv_post`."""

    def leaky_relu(x: mx.array, slope: float) -> mx.array:
        other = slope_after if slope == 0.01 else slope_inside
        return nn.leaky_relu(x, slope if other is None else other)

    return calling(generator, "functional", leaky_relu=leaky_relu)


@fault("leaky-slope-after", "The leaky ReLU before conv_post has the loop's slope 0.1 in place of 0.01.", "hift")
def leaky_slope_after(pair: Pair) -> Context:
    return _leaky(None, 0.1)


@fault("leaky-slope-inside", "The leaky ReLUs of the loop have the default slope 0.01 in place of 0.1.", "hift")
def leaky_slope_inside(pair: Pair) -> Context:
    return _leaky(0.01, None)


@fault("reflection-pad", "The reflected frame is missing.", "hift.reflection_pad", kind="leaf")
def reflection_pad(pair: Pair) -> Context:
    return behaving(modules_at(pair, "hift.reflection_pad"), lambda self, x: x)


@fault(
    "reflection-edge",
    "The padded frame is a copy of the first in place of the second.",
    "hift.reflection_pad",
    kind="leaf",
)
def reflection_edge(pair: Pair) -> Context:
    modules = modules_at(pair, "hift.reflection_pad")
    return behaving(modules, lambda self, x: mx.concatenate([x[:, :1], x], axis=1))


@fault("resblock-mean", "The residual blocks of a level are added up in place of averaged.", "hift")
def resblock_mean(pair: Pair) -> Context:
    def decode(self: Any, mel: mx.array, source: mx.array) -> mx.array:
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

    return patched(generator.HiFTGenerator, "decode", decode)


@fault("istft-window", "The window is the symmetric Hann window in place of the periodic one.", "hift")
def istft_window(pair: Pair) -> Context:
    return patched(stft.STFT, "_window", lambda self: np.hanning(self.n_fft))


@fault("istft-normalization", "The overlapping windows are not divided out of the inverse transform.", "hift")
def istft_normalization(pair: Pair) -> Context:
    original = stft.STFT.inverse

    def summed(self: Any, spectrum: mx.array) -> mx.array:
        overlap = np.square(self._window()).reshape(-1, self.hop).sum(axis=0)
        return original(self, spectrum) * float(overlap.mean())

    return patched(stft.STFT, "inverse", summed)


@fault("istft-imaginary-sign", "The imaginary part of the inverse transform has the wrong sign.", "hift")
def istft_imaginary_sign(pair: Pair) -> Context:
    original = stft.STFT.inverse

    def conjugated(self: Any, spectrum: mx.array) -> mx.array:
        real, imaginary = mx.split(spectrum, 2, axis=-1)
        return original(self, mx.concatenate([real, -imaginary], axis=-1))

    return patched(stft.STFT, "inverse", conjugated)


@fault("phase-without-sine", "The network's phase is taken as it is, without its sine.", "hift")
def phase_without_sine(pair: Pair) -> Context:
    calls: list[int] = []

    def sine(x: mx.array) -> mx.array:
        calls.append(1)
        return x if len(calls) % 2 == 1 else mx.sin(x)  # the first of a decoding is the phase, the second its part

    return calling(generator, "functional", sin=sine)


@fault("snake-square", "Snake adds sin(a x) / a in place of sin(a x)^2 / a.", *SNAKES, kind="leaf")
def snake_square(pair: Pair) -> Context:
    return behaving(modules_at(pair, *SNAKES), lambda self, x: x + mx.sin(x * self.alpha) / (self.alpha + 1e-9))


@fault("snake-log-alpha", "Snake's alpha is taken for a logarithm, as BigVGAN stores it.", *SNAKES, kind="leaf")
def snake_log_alpha(pair: Pair) -> Context:
    def exponential(self: Any, x: mx.array) -> mx.array:
        alpha = mx.exp(self.alpha)
        return x + mx.square(mx.sin(x * alpha)) / (alpha + 1e-9)

    return behaving(modules_at(pair, *SNAKES), exponential)


@fault("resblock-residual", "The residual blocks lack their residual connections.", *BLOCKS)
def resblock_residual(pair: Pair) -> Context:
    def chained(self: Any, x: mx.array) -> mx.array:
        for parts in zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True):
            for part in parts:
                x = part(x)
        return x

    return behaving(modules_at(pair, *BLOCKS), chained)


@fault(
    "resblock-dilation",
    "The dilated convolutions are not dilated.",
    *(f"{block}.convs1.{place}" for block in BLOCKS for place in (1, 2)),
    kind="leaf",
)
def resblock_dilation(pair: Pair) -> Context:
    modules = modules_at(pair, *(f"{block}.convs1.{place}" for block in BLOCKS for place in (1, 2)))
    return setting(modules, dilation=1)


@fault("weight-norm-gain", "The weight norm's direction is used without its gain.", "hift.conv_pre", kind="weights")
def weight_norm_gain(pair: Pair) -> Context:
    def direction(weight: mx.array) -> mx.array:
        return weight / mx.sqrt(mx.square(weight).sum(axis=(1, 2), keepdims=True))

    return setting(modules_at(pair, "hift.conv_pre"), weight=direction)


@fault("transposed-kernel", "The kernel of a transposed convolution is reversed in time.", "hift.ups.0", kind="weights")
def transposed_kernel(pair: Pair) -> Context:
    return setting(modules_at(pair, "hift.ups.0"), weight=lambda weight: weight[:, ::-1])


@fault(
    "transposed-padding",
    "A transposed convolution is cut at its end alone, which shifts it.",
    "hift.ups.1",
    kind="leaf",
)
def transposed_padding(pair: Pair) -> Context:
    original = type(modules_at(pair, "hift.ups.1")[0]).__call__

    def shifted(self: Any, x: mx.array) -> mx.array:
        return mx.roll(original(self, x), self.padding, 1)

    return behaving(modules_at(pair, "hift.ups.1"), shifted)


@fault("f0-without-abs", "The predicted f0 may be negative: its absolute value is not taken.", "hift.f0_predictor")
def f0_without_abs(pair: Pair) -> Context:
    return calling(f0_predictor, "mx", abs=lambda x: x)


@fault(
    "source-phase-interpolation",
    "The phase is repeated in place of interpolated to the sample rate.",
    SINES,
    kind="leaf",
)
def source_phase_interpolation(pair: Pair) -> Context:
    def repeated(x: mx.array, scale: int, begin: int, end: int, first: int) -> mx.array:
        return mx.repeat(x[:, begin - first : end - first], scale, axis=1)

    return patched(source, "linear_upsample", repeated)


@fault("source-phase-every-sample", "The phase is summed at the sample rate, as in CosyVoice 1.", SINES, kind="leaf")
def source_phase_every_sample(pair: Pair) -> Context:
    def sines(self: Any, harmonics: mx.array, *piece: Any) -> mx.array:
        turns = mx.remainder(harmonics / self.sampling_rate, 1.0)
        return mx.sin(source.exact_cumsum(turns).astype(mx.float32) * source.TURN_UNIT * 2 * math.pi)

    return patched(source.SineGen2, "sines", sines)


@fault("source-noise", "The noise is as loud in voiced as in unvoiced frames.", SINES, kind="leaf")
def source_noise(pair: Pair) -> Context:
    return setting(modules_at(pair, SINES), noise_std=lambda std: 0.1 / 3)


@fault("source-harmonics", "The harmonics are counted from the second on.", SINES, kind="leaf")
def source_harmonics(pair: Pair) -> Context:
    def second_on(start: int, stop: int, dtype: mx.Dtype) -> mx.array:
        return mx.arange(start + 1, stop + 1, dtype=dtype)

    return calling(source, "mx", arange=second_on)


@fault("source-tanh", "The merged source lacks its tanh.", "hift.m_source.l_tanh", kind="leaf")
def source_tanh(pair: Pair) -> Context:
    return behaving(modules_at(pair, "hift.m_source.l_tanh"), lambda self, x: x)


@fault("snake-alpha-missing", "Snake's alpha stays at its initial value 1.", *SNAKES, kind="weights")
def snake_alpha_missing(pair: Pair) -> Context:
    return setting(modules_at(pair, *SNAKES), alpha=mx.ones_like)
