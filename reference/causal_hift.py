"""The causal HiFT vocoder of CosyVoice3: what it says of a frame depends on a few frames after it, and on all before.

Official code: `cosyvoice.hifigan.generator.CausalHiFTGenerator` with
`cosyvoice.hifigan.f0_predictor.CausalConvRNNF0Predictor` and the causal convolutions of
`cosyvoice.transformer.convolution`. Module paths are the keys of `hift.pt`. Everything is [batch, channels, time].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from reference.hift import Generator, Layers
from reference.hift_source import SineGen2


class CausalConv1d(nn.Conv1d):
    """Keeps the length: zeros stand before the first frame."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class LookaheadConv1d(nn.Conv1d):
    """Keeps the length, and looks at the frames after each: the official `CausalConv1d` of type "right"."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`context` [B, C, kernel_size - 1] holds the frames that follow x; None at the end, where zeros do."""
        reach = self.kernel_size[0] - 1
        return super().forward(F.pad(x, (0, reach)) if context is None else torch.cat([x, context], dim=2))


class CausalConv1dDownSample(nn.Conv1d):
    """A convolution of a stride: zeros stand before the first frame, one fewer than the stride."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.stride[0] - 1, 0)))


class CausalConv1dUpsample(CausalConv1d):
    """Repeats every frame `rate` times, then is a causal convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, rate: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        self.upsample = nn.Upsample(scale_factor=rate)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.upsample(x))


def causal_conv(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> nn.Module:
    """A weight-normed convolution that keeps the length and sees the past alone."""
    return weight_norm(CausalConv1d(in_channels, out_channels, kernel_size, dilation=dilation))


def lookahead_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    """A weight-normed convolution that keeps the length and sees the present and what follows."""
    return weight_norm(LookaheadConv1d(in_channels, out_channels, kernel_size))


def _up(in_channels: int, out_channels: int, kernel_size: int, rate: int) -> nn.Module:
    return weight_norm(CausalConv1dUpsample(in_channels, out_channels, kernel_size, rate))


def split(x: Tensor, reach: int, finalize: bool) -> tuple[Tensor, Tensor | None]:
    """Frames [B, C, T], and those after them that a convolution looks at: the last ones unless all is known."""
    return (x, None) if finalize else (x[:, :, :-reach], x[:, :, -reach:])


class CausalConvRNNF0Predictor(nn.Module):
    """`f0_predictor`: mel [B, 80, T] to f0 in Hz [B, T].

    In float64 with its weight norm, whatever the network was cast to: the phase adds errors up, and upstream does so.

    Attributes:
        reach: how many frames after it a frame's f0 depends on.
    """

    def __init__(self, num_class: int, in_channels: int, cond_channels: int) -> None:
        super().__init__()
        self.reach = 3
        layers: list[nn.Module] = [lookahead_conv(in_channels, cond_channels, self.reach + 1), nn.ELU()]
        for _ in range(4):
            layers += [causal_conv(cond_channels, cond_channels, 3), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(cond_channels, num_class)
        self.double()

    def forward(self, mel: Tensor, context: Tensor | None = None) -> Tensor:
        """`context` [B, 80, reach] holds the frames after `mel`; None at the end. f0 has the dtype of `mel`."""
        self.double()
        first, *others = self.condnet
        x = first(mel.double(), None if context is None else context.double())
        for layer in others:
            x = layer(x)
        return torch.abs(self.classifier(x.mT).squeeze(-1)).to(mel.dtype)


class CausalSineGen2(SineGen2):
    """`m_source.l_sin_gen`, the official `SineGen2` with `causal=True`: the phase stands still within a frame."""

    stretching, uniform = "nearest", True


class CausalHiFTGenerator(Generator):
    """mel [B, 80, T] to wav [B, 480 T] at 24 kHz. `config` has the fields of CausalHiFTConfig."""

    causal = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        look_right = config["conv_pre_look_right"]
        conv_pre = partial(lookahead_conv, kernel_size=look_right + 1)
        layers = Layers(CausalConvRNNF0Predictor, CausalSineGen2, conv_pre, causal_conv, _up, CausalConv1dDownSample)
        super().__init__(config, layers)
        self.conv_pre_look_right = look_right

    def decode(self, mel: Tensor, source: Tensor, finalize: bool = True) -> Tensor:
        """mel [B, 80, T] and source [B, 1, 480 T] to wav [B, 480 T], within +-audio_limit.

        Unless it is final, the last `conv_pre_look_right` frames are only looked at, and so is one more frame of
        samples, to which the inverse transform would add what follows.
        """
        known, context = split(mel, self.conv_pre_look_right, finalize)
        scale = self.m_source.l_sin_gen.upsample_scale
        spectrum = self.stft(source.squeeze(1))[:, :, : known.shape[2] * scale // self.hop + 1]
        wav = self.spoken(self.conv_pre(known, context), spectrum)
        return wav if finalize else wav[:, :-scale]

    @torch.inference_mode()
    def inference(
        self, mel: Tensor, *, rand_ini: Tensor, sine_noise: Tensor, finalize: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Synthesize.

        Args:
            mel: [1, 80, T], log mel at 50 frames a second.
            rand_ini: [1, 9] in [0, 1), the harmonics' initial phases in turns (the first is taken as zero).
            sine_noise: [1, 480 N, 9] in [0, 1), N being the frames of the source.
            finalize: no frames follow. Otherwise the last ones are only looked at, see below.

        Returns:
            wav [1, 480 T] and the source [1, 1, 480 N], N = T. Unless it is final, wav [1, 480 (T - 8)] and N = T - 3:
            the head of what a final run gives.

        Raises:
            ValueError: an argument of the wrong shape, named with what was expected.
        """
        reach = self.f0_predictor.reach
        least, sourced = (
            (1, mel.shape[-1]) if finalize else (reach + self.conv_pre_look_right + 2, mel.shape[-1] - reach)
        )
        self.check_input(mel, rand_ini, sine_noise, least=least, sourced=sourced)
        known, context = split(mel.to(self.m_source.l_linear.weight.dtype), reach, finalize)
        source = self.source(self.f0_predictor(known, context), rand_ini, sine_noise)
        return self.decode(known, source, finalize), source


def build(config: Mapping[str, Any]) -> CausalHiFTGenerator:
    """The vocoder for a mapping with the fields of CausalHiFTConfig; fill it with `load_state_dict(strict=True)`."""
    return CausalHiFTGenerator(config).eval()
