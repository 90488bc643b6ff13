"""The HiFT vocoder: mel to waveform by a neural source filter and an inverse short-time Fourier transform."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, ClassVar, NamedTuple

import mlx.core as mx

from mlx_cosyvoice.config import F0PredictorConfig, HiFTConfig
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Conv1d, ConvTranspose1d, Module, functional
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder.f0_predictor import ConvRNNF0Predictor
from mlx_cosyvoice.vocoder.resblock import Padding, ResBlock, centered
from mlx_cosyvoice.vocoder.source import SineGen2, SourceModuleHnNSF, Upsample
from mlx_cosyvoice.vocoder.stft import STFT

#: exp of the network's log magnitude is cut here before the inverse transform.
MAX_MAGNITUDE = 1e2


class ReflectionPad(Module):
    """`reflection_pad`: one more frame on the left, a mirror of the second. [B, T, C] to [B, T + 1, C]."""

    official_axes = "bct"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([x[:, 1:2], x], axis=1)


class Layers(NamedTuple):
    """The layers in which vocoders differ, by what they look at: both sides of a frame, or the past alone.

    Attributes:
        f0_predictor: made with its sizes.
        sines: class of `m_source.l_sin_gen`.
        conv_pre: made with its input and output channels, as the other convolutions.
        padding: of every residual block, and `conv_post`.
        up: of `ups`, with kernel size and rate.
        down: of `source_downs`, with kernel size and stride.
    """

    f0_predictor: Callable[[F0PredictorConfig], Any]
    sines: type[SineGen2]
    conv_pre: Callable[[int, int], Any]
    padding: Padding
    up: Callable[[int, int, int, int], Any]
    down: Callable[[int, int, int, int], Any]


class Generator(Module):
    """What all HiFT vocoders are.

    Raises:
        ValueError: sizes that the network cannot have, named with the field.
    """

    #: Whether it can go on from its own state, as it sees some frames ahead and no more.
    causal: ClassVar[bool] = False

    def __init__(self, config: HiFTConfig, layers: Layers) -> None:
        super().__init__()
        _check_config(config)
        self.config = config
        rates, base = config.upsample_rates, config.base_channels
        self.stft = STFT(config.istft_params.n_fft, config.istft_params.hop_len)
        self.samples_per_frame = prod(rates) * self.stft.hop

        self.f0_predictor = layers.f0_predictor(config.f0_predictor)
        self.f0_upsamp = Upsample(self.samples_per_frame)
        self.m_source = SourceModuleHnNSF(layers.sines(config, self.samples_per_frame))
        self.conv_pre = layers.conv_pre(config.in_channels, base)
        widths = [base >> level for level in range(len(rates) + 1)]
        self.ups = [
            layers.up(wide, narrow, kernel, rate)
            for wide, narrow, rate, kernel in zip(
                widths[:-1], widths[1:], rates, config.upsample_kernel_sizes, strict=True
            )
        ]
        # The source's spectrum has one frame a hop; each level needs it at its own, lower rate: strides 15, 3, 1.
        strides = list(accumulate([1, *rates[:0:-1]], mul))[::-1]
        bins = 2 * self.stft.bins
        self.source_downs = [
            layers.down(bins, width, 1 if stride == 1 else 2 * stride, stride)
            for width, stride in zip(widths[1:], strides, strict=True)
        ]
        self.source_resblocks = [
            ResBlock(width, kernel, dilations, layers.padding)
            for width, kernel, dilations in zip(
                widths[1:], config.source_resblock_kernel_sizes, config.source_resblock_dilation_sizes, strict=True
            )
        ]
        shapes = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.resblocks = [
            ResBlock(width, kernel, dilations, layers.padding) for width in widths[1:] for kernel, dilations in shapes
        ]
        self.conv_post = Conv1d(widths[-1], bins, 7, pad=layers.padding(6), weight_norm=True)
        self.reflection_pad = ReflectionPad()

    def source(
        self, f0: mx.array, rand_ini: mx.array, sine_noise: mx.array, *, start: int = 0, cache: Cache | None = None
    ) -> mx.array:
        """The excitation of an utterance, or of one piece of it.

        Args:
            f0: [B, T] in Hz. That of a piece begins one frame before it and ends one frame after it, as far as there
                are frames.
            rand_ini: [B, 9] in [0, 1).
            sine_noise: [B, 480 N, 9], N being the frames of the piece; T without a cache.
            start: the frame that the piece starts with.
            cache: the pieces before.

        Returns:
            [B, 480 N, 1], float32.
        """
        return self.m_source(self.f0_upsamp(f0[..., None]), rand_ini, sine_noise, start=start, cache=cache)

    def upsampled(self, level: int, x: mx.array, cache: Cache | None) -> mx.array:
        """x [B, T, C] at the rate of a level."""
        x = self.ups[level](x)
        return self.reflection_pad(x) if level == len(self.ups) - 1 else x

    def spectra(self, x: mx.array, spectrum: mx.array, cache: Cache | None = None) -> mx.array:
        """The spectra of the waveform.

        Args:
            x: [B, T, C], of `conv_pre`.
            spectrum: [B, F, 2 bins], the source's, one frame a hop.
            cache: the pieces before.

        Returns:
            [B, F, 2 bins], float32: the real parts, then the imaginary parts.
        """
        spectrum = spectrum.astype(x.dtype)
        kernels = len(self.config.resblock_kernel_sizes)
        for level, (down, source_block) in enumerate(zip(self.source_downs, self.source_resblocks, strict=True)):
            x = self.upsampled(level, functional.leaky_relu(x, self.config.lrelu_slope), cache)
            x = x + source_block(down(spectrum, cache), cache)
            blocks = self.resblocks[level * kernels : (level + 1) * kernels]
            x = sum((block(x, cache) for block in blocks[1:]), blocks[0](x, cache)) / kernels
        x = self.conv_post(functional.leaky_relu(x, 0.01), cache).astype(mx.float32)  # PyTorch's default slope here
        log_magnitude, phase = mx.split(x, 2, axis=-1)
        magnitude = mx.minimum(functional.exp(log_magnitude), MAX_MAGNITUDE)
        angle = functional.sin(phase)
        return mx.concatenate([magnitude * functional.cos(angle), magnitude * functional.sin(angle)], axis=-1)

    def limited(self, wav: mx.array) -> mx.array:
        """Samples within +-audio_limit."""
        return mx.clip(wav, -self.config.audio_limit, self.config.audio_limit)

    def check_input(self, mel: mx.array, rand_ini: mx.array, sine_noise: mx.array, *, least: int, sourced: int) -> None:
        """Whether shapes fit a mel of at least so many frames, and a source of `sourced`.

        Raises:
            ValueError: one does not; it is named with what was expected.
        """
        channels = self.config.in_channels
        if mel.ndim != 3 or mel.shape[2] != channels or mel.shape[1] < least:
            raise ValueError(f"mel must be [1, T, {channels}] with T >= {least}, not {list(mel.shape)}")
        batch, harmonics = mel.shape[0], self.config.nb_harmonics + 1
        samples = sourced * self.samples_per_frame
        for name, tensor, shape in (
            ("rand_ini", rand_ini, [batch, harmonics]),
            ("sine_noise", sine_noise, [batch, samples, harmonics]),
        ):
            if list(tensor.shape) != shape:
                raise ValueError(f"{name} must be {shape} for a mel of {list(mel.shape)}, not {list(tensor.shape)}")


def _up(in_channels: int, out_channels: int, kernel_size: int, rate: int) -> ConvTranspose1d:
    padding = (kernel_size - rate) // 2
    return ConvTranspose1d(in_channels, out_channels, kernel_size, stride=rate, padding=padding, weight_norm=True)


def _down(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> Conv1d:
    return Conv1d(in_channels, out_channels, kernel_size, stride=stride, pad=(stride // 2, stride // 2))


class HiFTGenerator(Generator):
    """`cosyvoice.hifigan.generator.HiFTGenerator`: mel [B, T, 80] to wav [B, 480 T] at 24 kHz.

    Raises:
        ValueError: sizes that the network cannot have, named with the field.
    """

    def __init__(self, config: HiFTConfig) -> None:
        conv_pre = partial(Conv1d, kernel_size=7, pad=(3, 3), weight_norm=True)
        super().__init__(config, Layers(ConvRNNF0Predictor, SineGen2, conv_pre, centered, _up, _down))

    def decode(self, mel: mx.array, source: mx.array) -> mx.array:
        """mel [B, T, 80] and source [B, 480 T, 1] to wav [B, 480 T], float32, within +-audio_limit."""
        x = self.conv_pre(mel.astype(outer_dtype(self.conv_pre)))
        spectra = self.spectra(x, self.stft.forward(source.squeeze(-1)))
        return self.limited(self.stft.inverse(spectra))

    def __call__(
        self, mel: mx.array, *, rand_ini: mx.array, sine_noise: mx.array, cache_source: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Synthesize.

        Args:
            mel: [1, T, 80], log mel at 50 frames a second.
            rand_ini: [1, 9] in [0, 1), the harmonics' initial phases in turns (the first is taken as zero).
            sine_noise: [1, 480 T, 9], standard normal.
            cache_source: [1, L, 1], replaces the first L samples of the source, so that a chunk goes on where the
                one before it ended.

        Returns:
            wav [1, 480 T] and the source [1, 480 T, 1], float32.

        Raises:
            ValueError: an argument of the wrong shape, named with what was expected.
        """
        self.check_input(mel, rand_ini, sine_noise, least=1, sourced=mel.shape[1] if mel.ndim > 1 else 0)
        source = self.source(self.f0_predictor(mel), rand_ini, sine_noise)
        if cache_source is not None:
            found, whole = list(cache_source.shape), source.shape[1]
            if len(found) != 3 or found[0] != mel.shape[0] or found[2] != 1 or found[1] > whole:
                raise ValueError(f"cache_source must be [{mel.shape[0]}, L, 1] with L <= {whole}, not {found}")
            source = mx.concatenate([cache_source.astype(source.dtype), source[:, found[1] :]], axis=1)
        return self.decode(mel, source), source


def _check_config(config: HiFTConfig) -> None:
    if config.sampling_rate == 22050:
        raise ValueError("sampling_rate 22050 is a CosyVoice 1 vocoder with another sine generator; 24000 is expected")
    n_fft, hop = config.istft_params.n_fft, config.istft_params.hop_len
    if n_fft % 2 or n_fft % hop:
        raise ValueError(f"istft_params: n_fft ({n_fft}) must be even and a multiple of hop_len ({hop})")
