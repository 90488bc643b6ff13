"""Mistakes in the causal HiFT vocoder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.vocoder import causal_f0_predictor, generator, stft
from mlx_cosyvoice.vocoder.causal_source import CausalSineGen2
from mlx_cosyvoice.vocoder.source import SineGen2
from parity.faults import shared
from parity.faults.base import Mistakes, at

HIFT, SINES = at("hift"), at("hift.m_source.l_sin_gen", kind="leaf")
CONV_PRE, DOWNS = at("hift.conv_pre", kind="leaf"), at("hift.source_downs.0", "hift.source_downs.1", kind="leaf")
CONDNET = at(*(f"hift.f0_predictor.condnet.{place}" for place in (0, 2, 4, 6, 8)), kind="leaf")
REPEATS = at(*(f"hift.ups.{level}.upsample" for level in range(3)), kind="leaf")
BLOCKS = ("hift.resblocks.*", "hift.source_resblocks.*")
BLOCK_CONVS = at(*(f"{block}.convs{place}.*" for block in BLOCKS for place in (1, 2)), kind="leaf")
SPECTRA, MIXED = HIFT.of(generator.Generator.spectra), SINES.of(SineGen2._mixed)

AHEAD, BEHIND = "followed(x, self.reach, context)", "mx.pad(x, [(0, 0), (self.reach, 0), (0, 0)])"
REPEATED = "mx.repeat(x, self.scale, axis=1)"
LINEAR = "interpolate(x, sample_positions(1 / self.scale, 0, self.scale * x.shape[1]))"


def _around(pad: tuple[int, int]) -> tuple[int, int]:
    """Zeros on both sides in place of the left alone."""
    return pad[0] - pad[0] // 2, pad[0] // 2


def _in_float32(original: Any, self: Any, x: mx.array) -> mx.array:
    weight = self.weight * (self.gain / mx.sqrt(mx.square(self.weight).sum(axis=(1, 2))))[:, None, None]
    return (mx.conv1d(x.astype(mx.float32), weight, stream=mx.cpu) + self.bias).astype(mx.float64)


MISTAKES: Mistakes = {
    # what convolutions see
    "conv-pre-behind: conv_pre is padded on the left, as all others are, where it looks at the four frames after "
    "each.": (CONV_PRE.edits(AHEAD, BEHIND)),
    "conv-pre-around: conv_pre is padded on both sides, as CosyVoice2's is.": CONV_PRE.edits(
        AHEAD, "mx.pad(x, [(0, 0), (self.reach // 2, self.reach // 2), (0, 0)])"
    ),
    "first-f0-layer-behind: The first layer of the f0 predictor is padded on the left, where it looks at the three "
    "frames after each.": at("hift.f0_predictor.condnet.0", kind="leaf").edits(AHEAD, BEHIND),
    "second-f0-layer-ahead: The second layer of the f0 predictor is padded on the right, as the first is.": at(
        "hift.f0_predictor.condnet.2", kind="leaf"
    ).edits(
        "extended(x.astype(mx.float64), self.pad[0], cache)",
        "mx.pad(x.astype(mx.float64), [(0, 0), (0, self.pad[0]), (0, 0)])",
    ),
    "conv-post-around: conv_post is padded on both sides.": at("hift.conv_post", kind="leaf").sets(pad=_around),
    "resblocks-around: The convolutions of the residual blocks are padded on both sides, as CosyVoice2's are.": (
        BLOCK_CONVS.sets(pad=_around)
    ),
    "dilation-not-padded: Dilated convolutions are padded by their kernel alone: what they lack of frames is added at "
    "the end.": at("hift.resblocks.*.convs1.1", "hift.resblocks.*.convs1.2", kind="leaf").edits(
        "left, right = self.pad",
        "left = self.pad[0] // self.dilation\n    right = self.pad[0] - left",
    ),
    "source-downs-around: The source is padded by half a stride on both sides before it is brought to a level's "
    "rate.": (
        DOWNS.edits("self.stride - 1,", "self.stride // 2,", "[before.astype(x.dtype), x]", "[before, x, before]")
    ),
    # the upsampling
    "ups-linear: Frames are interpolated before the convolutions of the upsampling, where they are repeated.": (
        REPEATS.edits(REPEATED, LINEAR)
    ),
    "ups-with-zeros: Zeros are put between frames, as a transposed convolution does, where frames are repeated.": (
        REPEATS.edits(REPEATED, f"{REPEATED} * (mx.arange(x.shape[1] * self.scale) % self.scale == 0)[:, None]")
    ),
    "ups-around: The convolutions of the upsampling are padded on both sides.": at(
        "hift.ups.0", "hift.ups.1", "hift.ups.2"
    ).sets(pad=_around),
    # f0
    "f0-signed: f0 may be negative: its absolute value is not taken.": at("hift.f0_predictor").edits("mx.abs(", "("),
    "f0-in-float32: The f0 predictor computes in float32, whose errors the phase adds up.": CONDNET.wraps(
        causal_f0_predictor.Float64Conv1d, "convolved", _in_float32
    ),
    "f0-weights-in-float32: The weight norm of the f0 predictor is folded in float32, and only then is computed in "
    "float64.": CONDNET.edits(
        "taps = self.weight",
        "norm = mx.sqrt(mx.square(self.weight).sum(axis=(1, 2)))\n"
        "    taps = (self.weight * (self.gain / norm)[:, None, None])",
        "y * (self.gain.astype(mx.float64) / mx.sqrt(mx.square(taps).sum(axis=(0, 1))))",
        "y",
        of=causal_f0_predictor.Float64Conv1d.convolved,
    ),
    "f0-in-bfloat16: The f0 predictor reads what was rounded to bfloat16.": CONDNET.wraps(
        causal_f0_predictor.Float64Conv1d,
        "convolved",
        lambda original, self, x: original(self, x.astype(mx.bfloat16).astype(mx.float64)),
    ),
    "f0-relu: ReLU stands in the f0 predictor for ELU.": at(
        *(f"hift.f0_predictor.condnet.{place}" for place in (1, 3, 5, 7, 9)), kind="leaf"
    ).edits("mx.expm1(x)", "0"),
    # the excitation
    "phase-linear: The phase is interpolated to the sample rate, as in CosyVoice2, where it stands still within a "
    "frame.": SINES.patches(CausalSineGen2, "stretched", SineGen2.stretched),
    "phase-of-every-sample: The phase is summed at the sample rate, so that sines are smooth.": SINES.edits(
        *shared.PHASE_OF_EVERY_SAMPLE, of=SineGen2.sines
    ),
    "phase-one-frame-late: The phase of a frame does not count that frame.": SINES.edits(
        "(phase,", "(mx.pad(phase[:, :-1], [(0, 0), (1, 0), (0, 0)]),", of=CausalSineGen2.stretched
    ),
    "noise-centered: The uniform noise is brought to -1..1, where it is 0..1.": MIXED.edits(
        "noise_amp * sine_noise", "noise_amp * (2 * sine_noise - 1)"
    ),
    "noise-made-normal: Normal noise is made of the uniform one (mean 0, deviation 1), as CosyVoice2 has it.": (
        MIXED.edits("noise_amp * sine_noise", "noise_amp * (sine_noise - 0.5) * math.sqrt(12)")
    ),
    "noise-everywhere: Voiced frames have as much noise as those without a voice.": MIXED.edits(
        "voiced * self.noise_std + (1 - voiced) * self.sine_amp / 3", "self.sine_amp / 3"
    ),
    "f0-interpolated: f0 is interpolated to the sample rate, where it is repeated.": at(
        "hift.f0_upsamp", kind="leaf"
    ).edits(REPEATED, LINEAR),
    # the generator
    "snake-not-squared: Snake adds sin(a x) / a in place of sin(a x)^2 / a.": at(
        *(f"{block}.activations{place}.*" for block in BLOCKS for place in (1, 2)), kind="leaf"
    ).edits(*shared.NOT_SQUARED),
    "zero-for-reflection: Before the last level a frame of zeros is added, where the second frame is mirrored.": at(
        "hift.reflection_pad", kind="leaf"
    ).edits("x[:, 1:2]", "mx.zeros_like(x[:, 1:2])"),
    "slope-of-the-loop-behind-it: The leaky ReLU before conv_post has the loop's slope 0.1 in place of 0.01.": (
        SPECTRA.edits("0.01", "0.1")
    ),
    "window-symmetric: The window of the transforms is the symmetric Hann window in place of the periodic one.": (
        HIFT.edits(*shared.SYMMETRIC_WINDOW, of=stft.STFT._window)
    ),
    "window-once: The overlapping windows are not divided out of the inverse transform.": HIFT.edits(
        *shared.WINDOWS_KEPT, of=stft.STFT.samples
    ),
    "magnitude-not-exponential: The log magnitude is taken for the magnitude.": SPECTRA.edits(
        "functional.exp(log_magnitude)", "log_magnitude"
    ),
}
