"""The HiFT vocoder: mel to waveform by a neural source filter and an inverse short-time Fourier transform.

Official code: `cosyvoice.hifigan.generator.HiFTGenerator` with `cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor`.
Module paths are the keys of `hift.pt` without their leading `generator.`. Everything is [batch, channels, time].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from reference.hift_source import SineGen2, SourceModuleHnNSF, at_least_float32

#: exp of the network's log magnitude is cut here before the inverse transform.
MAX_MAGNITUDE = 1e2

#: (in_channels, out_channels, kernel_size, dilation=1) to a weight-normed convolution that keeps the length.
Convolution = Callable[..., nn.Module]


def same_length_conv(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> nn.Conv1d:
    """A weight-normed convolution that keeps the length."""
    padding = (kernel_size - 1) * dilation // 2
    return weight_norm(nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation, padding=padding))


class ConvRNNF0Predictor(nn.Module):
    """`f0_predictor`: mel [B, 80, T] to f0 in Hz [B, T]."""

    def __init__(self, num_class: int, in_channels: int, cond_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(5):
            layers += [same_length_conv(cond_channels if index else in_channels, cond_channels, 3), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(cond_channels, num_class)

    def forward(self, mel: Tensor) -> Tensor:
        return torch.abs(self.classifier(self.condnet(mel).mT).squeeze(-1))


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, with one alpha a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + torch.sin(x * alpha) ** 2 / (alpha + 1e-9)


class ResBlock(nn.Module):
    """`resblocks.N` and `source_resblocks.N`: residual pairs of a dilated and a plain convolution."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int], conv: Convolution) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(conv(channels, channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(conv(channels, channels, kernel_size) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for act1, conv1, act2, conv2 in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            x = conv2(act2(conv1(act1(x)))) + x
        return x


class Layers(NamedTuple):
    """The layers in which vocoders differ, by what they look at: both sides of a frame, or the past alone.

    Attributes:
        f0_predictor: made with its sizes.
        sines: class of `m_source.l_sin_gen`.
        conv_pre: made with its input and output channels, as those below.
        conv: of every residual block, and `conv_post`.
        up: of `ups`, with kernel size and rate.
        down: of `source_downs`, with kernel size and stride.
    """

    f0_predictor: Callable[..., Any]
    sines: type[SineGen2]
    conv_pre: Callable[[int, int], nn.Module]
    conv: Convolution
    up: Callable[[int, int, int, int], nn.Module]
    down: Callable[[int, int, int, int], nn.Module]


class Generator(nn.Module):
    """What all HiFT vocoders are. `config` has the fields of HiFTConfig."""

    #: Whether it sees some frames ahead and no more.
    causal: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any], layers: Layers) -> None:
        super().__init__()
        rates, kernels = config["upsample_rates"], config["upsample_kernel_sizes"]
        self.n_fft, self.hop = config["istft_params"]["n_fft"], config["istft_params"]["hop_len"]
        self.lrelu_slope, self.audio_limit = config["lrelu_slope"], config["audio_limit"]
        self.num_kernels = len(config["resblock_kernel_sizes"])
        self.in_channels = config["in_channels"]
        samples_per_frame = prod(rates) * self.hop

        self.f0_predictor = layers.f0_predictor(**config["f0_predictor"])
        self.f0_upsamp = nn.Upsample(scale_factor=samples_per_frame)
        self.m_source = SourceModuleHnNSF(
            layers.sines(
                config["sampling_rate"],
                samples_per_frame,
                config["nb_harmonics"],
                config["nsf_alpha"],
                config["nsf_sigma"],
                config["nsf_voiced_threshold"],
            )
        )
        widths = [config["base_channels"] >> level for level in range(len(rates) + 1)]
        self.conv_pre = layers.conv_pre(self.in_channels, widths[0])
        self.ups = nn.ModuleList(
            layers.up(wide, narrow, kernel, rate)
            for wide, narrow, rate, kernel in zip(widths[:-1], widths[1:], rates, kernels, strict=True)
        )
        # The source's spectrum has one frame a hop; each level needs it at its own, lower rate: strides 15, 3, 1.
        strides = list(accumulate([1, *rates[:0:-1]], mul))[::-1]
        self.source_downs = nn.ModuleList(
            layers.down(self.n_fft + 2, width, 1 if stride == 1 else 2 * stride, stride)
            for width, stride in zip(widths[1:], strides, strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations, layers.conv)
            for width, kernel, dilations in zip(
                widths[1:],
                config["source_resblock_kernel_sizes"],
                config["source_resblock_dilation_sizes"],
                strict=True,
            )
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations, layers.conv)
            for width in widths[1:]
            for kernel, dilations in zip(
                config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True
            )
        )
        self.conv_post = layers.conv(widths[-1], self.n_fft + 2, 7)
        self.reflection_pad = nn.ReflectionPad1d((1, 0))

    def source(self, f0: Tensor, rand_ini: Tensor, sine_noise: Tensor) -> Tensor:
        """f0 [B, T] in Hz, rand_ini [B, 9] in [0, 1), sine_noise [B, 480 T, 9]; gives [B, 1, 480 T]."""
        return self.m_source(self.f0_upsamp(f0[:, None]).mT, rand_ini, sine_noise).mT

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.n_fft, dtype=torch.float64, device=like.device).to(like.dtype)

    def stft(self, signal: Tensor) -> Tensor:
        """[B, L] to the real parts, then the imaginary parts, [B, n_fft + 2, L / hop + 1]."""
        signal = at_least_float32(signal)
        spectrum = torch.stft(signal, self.n_fft, self.hop, window=self._window(signal), return_complex=True)
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def istft(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase [B, n_fft / 2 + 1, F] to [B, (F - 1) hop]."""
        spectrum = torch.polar(torch.clip(magnitude, max=MAX_MAGNITUDE), phase)
        return torch.istft(spectrum, self.n_fft, self.hop, window=self._window(magnitude))

    def spoken(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """What `conv_pre` gives [B, C, T], and the source's spectrum at a frame a hop, to wav [B, 480 T]."""
        spectrum = spectrum.to(x.dtype)
        for level, (up, down, source_block) in enumerate(
            zip(self.ups, self.source_downs, self.source_resblocks, strict=True)
        ):
            x = up(F.leaky_relu(x, self.lrelu_slope))
            if level == len(self.ups) - 1:
                x = self.reflection_pad(x)
            x = x + source_block(down(spectrum))
            blocks = self.resblocks[level * self.num_kernels : (level + 1) * self.num_kernels]
            x = sum(block(x) for block in blocks) / self.num_kernels
        x = self.conv_post(F.leaky_relu(x))  # the default slope here, 0.01
        log_magnitude, phase = at_least_float32(x).split(self.n_fft // 2 + 1, dim=1)
        wav = self.istft(torch.exp(log_magnitude), torch.sin(phase))
        return torch.clamp(wav, -self.audio_limit, self.audio_limit)

    def check_input(self, mel: Tensor, rand_ini: Tensor, sine_noise: Tensor, *, least: int, sourced: int) -> None:
        """Whether shapes fit a mel of at least so many frames, and a source of `sourced`.

        Raises:
            ValueError: one does not; it is named with what was expected.
        """
        channels = self.in_channels
        if mel.ndim != 3 or mel.shape[1] != channels or mel.shape[2] < least:
            raise ValueError(f"mel must be [1, {channels}, T] with T >= {least}, not {list(mel.shape)}")
        sin_gen = self.m_source.l_sin_gen
        batch, harmonics = mel.shape[0], sin_gen.harmonic_num + 1
        samples = sourced * sin_gen.upsample_scale
        for name, tensor, shape in (
            ("rand_ini", rand_ini, [batch, harmonics]),
            ("sine_noise", sine_noise, [batch, samples, harmonics]),
        ):
            if list(tensor.shape) != shape:
                raise ValueError(f"{name} must be {shape} for a mel of {list(mel.shape)}, not {list(tensor.shape)}")


def _up(in_channels: int, out_channels: int, kernel_size: int, rate: int) -> nn.Module:
    padding = (kernel_size - rate) // 2
    return weight_norm(nn.ConvTranspose1d(in_channels, out_channels, kernel_size, rate, padding=padding))


def _down(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Module:
    return nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding=stride // 2)


class HiFTGenerator(Generator):
    """mel [B, 80, T] to wav [B, 480 T] at 24 kHz. `config` has the fields of HiFTConfig."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        conv_pre = partial(same_length_conv, kernel_size=7)
        super().__init__(config, Layers(ConvRNNF0Predictor, SineGen2, conv_pre, same_length_conv, _up, _down))

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel [B, 80, T] and source [B, 1, 480 T] to wav [B, 480 T], within +-audio_limit."""
        return self.spoken(self.conv_pre(mel), self.stft(source.squeeze(1)))

    @torch.inference_mode()
    def inference(
        self, mel: Tensor, *, rand_ini: Tensor, sine_noise: Tensor, cache_source: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Synthesize.

        Args:
            mel: [1, 80, T], log mel at 50 frames a second.
            rand_ini: [1, 9] in [0, 1), the harmonics' initial phases in turns (the first is taken as zero).
            sine_noise: [1, 480 T, 9], standard normal.
            cache_source: [1, 1, L], replaces the first L samples of the source, so that a chunk goes on where the
                one before it ended.

        Returns:
            wav [1, 480 T] and the source [1, 1, 480 T].

        Raises:
            ValueError: an argument of the wrong shape, named with what was expected.
        """
        self.check_input(mel, rand_ini, sine_noise, least=1, sourced=mel.shape[-1])
        mel = mel.to(self.m_source.l_linear.weight.dtype)
        source = self.source(self.f0_predictor(mel), rand_ini, sine_noise)
        if cache_source is not None:
            found, whole = list(cache_source.shape), source.shape[2]
            if len(found) != 3 or found[:2] != [mel.shape[0], 1] or found[2] > whole:
                raise ValueError(f"cache_source must be [{mel.shape[0]}, 1, L] with L <= {whole}, not {found}")
            source = torch.cat([cache_source.to(source.dtype), source[:, :, found[2] :]], dim=2)
        return self.decode(mel, source), source


def build(config: Mapping[str, Any]) -> HiFTGenerator:
    """The vocoder for a mapping with the fields of HiFTConfig; fill it with `load_state_dict(strict=True)`.

    Raises:
        ValueError: a 22050 Hz model. Those use another sine generator (CosyVoice 1) and are not supported.
    """
    if config["sampling_rate"] == 22050:
        raise ValueError("sampling_rate 22050 is a CosyVoice 1 vocoder with another sine generator; 24000 is expected")
    return HiFTGenerator(config).eval()
