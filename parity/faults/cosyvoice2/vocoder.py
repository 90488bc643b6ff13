"""Mistakes in the HiFT vocoder."""

from __future__ import annotations

import math

import mlx.core as mx

from mlx_cosyvoice.vocoder import generator, source, stft
from parity.faults import shared
from parity.faults.base import Mistakes, at

HIFT, REFLECTION = at("hift"), at("hift.reflection_pad", kind="leaf")
BLOCKS = ("hift.resblocks.*", "hift.source_resblocks.*")
SNAKES = tuple(f"{block}.activations{place}.*" for block in BLOCKS for place in (1, 2))
SNAKE, SINES = at(*SNAKES, kind="leaf"), at("hift.m_source.l_sin_gen", kind="leaf")
SPECTRA, SAMPLES = HIFT.of(generator.Generator.spectra), HIFT.of(stft.STFT.samples)

MISTAKES: Mistakes = {
    "leaky-slope-after: The leaky ReLU before conv_post has the loop's slope 0.1 in place of 0.01.": SPECTRA.edits(
        "0.01", "0.1"
    ),
    "leaky-slope-inside: The leaky ReLUs of the loop have the default slope 0.01 in place of 0.1.": SPECTRA.edits(
        "self.config.lrelu_slope", "0.01"
    ),
    "reflection-pad: The reflected frame is missing.": REFLECTION.edits("[x[:, 1:2], x]", "[x]"),
    "reflection-edge: The padded frame is a copy of the first in place of the second.": REFLECTION.edits(
        "x[:, 1:2]", "x[:, :1]"
    ),
    "resblock-mean: The residual blocks of a level are added up in place of averaged.": SPECTRA.edits(" / kernels", ""),
    "istft-window: The window is the symmetric Hann window in place of the periodic one.": HIFT.edits(
        *shared.SYMMETRIC_WINDOW, of=stft.STFT._window
    ),
    "istft-normalization: The overlapping windows are not divided out of the inverse transform.": SAMPLES.edits(
        *shared.WINDOWS_KEPT
    ),
    "istft-imaginary-sign: The imaginary part of the inverse transform has the wrong sign.": SAMPLES.edits(
        "-times", "times"
    ),
    "phase-without-sine: The network's phase is taken as it is, without its sine.": SPECTRA.edits(
        "functional.sin(phase)", "phase"
    ),
    "snake-square: Snake adds sin(a x) / a in place of sin(a x)^2 / a.": SNAKE.edits(*shared.NOT_SQUARED),
    "snake-log-alpha: Snake's alpha is taken for a logarithm, as BigVGAN stores it.": SNAKE.edits(
        "self.alpha", "mx.exp(self.alpha)"
    ),
    "resblock-residual: The residual blocks lack their residual connections.": at(*BLOCKS).edits(
        "cache)), cache) + x", "cache)), cache)"
    ),
    "resblock-dilation: The dilated convolutions are not dilated.": at(
        *(f"{block}.convs1.{place}" for block in BLOCKS for place in (1, 2)), kind="leaf"
    ).sets(dilation=1),
    "weight-norm-gain: The weight norm's direction is used without its gain.": at("hift.conv_pre", kind="weights").sets(
        weight=lambda weight: weight / mx.sqrt(mx.square(weight).sum(axis=(1, 2), keepdims=True))
    ),
    "transposed-kernel: The kernel of a transposed convolution is reversed in time.": at(
        "hift.ups.0", kind="weights"
    ).sets(weight=lambda weight: weight[:, ::-1]),
    "transposed-padding: A transposed convolution is cut at its end alone, which shifts it.": at(
        "hift.ups.1", kind="leaf"
    ).behaves(lambda self, x: mx.roll(self(x), self.padding, 1)),
    "f0-without-abs: The predicted f0 may be negative: its absolute value is not taken.": at("hift.f0_predictor").edits(
        "mx.abs(", "("
    ),
    "source-phase-interpolation: The phase is repeated in place of interpolated to the sample rate.": SINES.edits(
        "linear_upsample(phase, self.upsample_scale, start, end, first)",
        "mx.repeat(phase[:, start - first : end - first], self.upsample_scale, axis=1)",
        of=source.SineGen2.stretched,
    ),
    "source-phase-every-sample: The phase is summed at the sample rate, as in CosyVoice 1.": SINES.edits(
        *shared.PHASE_OF_EVERY_SAMPLE, of=source.SineGen2.sines
    ),
    "source-noise: The noise is as loud in voiced as in unvoiced frames.": SINES.sets(noise_std=0.1 / 3),
    "source-harmonics: The harmonics are counted from the second on.": SINES.edits(
        "mx.arange(1, self.harmonics + 1", "mx.arange(2, self.harmonics + 2"
    ),
    "source-tanh: The merged source lacks its tanh.": at("hift.m_source.l_tanh", kind="leaf").edits(
        *shared.NO_ACTIVATION
    ),
    "snake-alpha-missing: Snake's alpha stays at its initial value 1.": at(*SNAKES, kind="weights").sets(
        alpha=mx.ones_like
    ),
}

#: Those that show where the vocoder is loud.
LOUD: Mistakes = {
    "no-limit: Samples are not held within the audio limit.": HIFT.edits(
        "mx.clip(wav, -self.config.audio_limit, self.config.audio_limit)", "wav", of=generator.Generator.limited
    ),
    "magnitude-limit: Magnitudes are not limited to 100.": HIFT.patches(generator, "MAX_MAGNITUDE", math.inf),
}
