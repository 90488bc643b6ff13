"""The HiFT vocoder: mel to waveform by a neural source filter and an inverse short-time Fourier transform."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from operator import mul

import mlx.core as mx

from mlx_cosyvoice.config import HiFTConfig
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Conv1d, ConvTranspose1d, Module, functional
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder.f0_predictor import ConvRNNF0Predictor
from mlx_cosyvoice.vocoder.resblock import ResBlock
from mlx_cosyvoice.vocoder.source import SourceModuleHnNSF, Upsample
from mlx_cosyvoice.vocoder.stft import STFT

#: exp of the network's log magnitude is cut here before the inverse transform.
MAX_MAGNITUDE = 1e2


class ReflectionPad(Module):
    """`reflection_pad`: one more frame on the left, a mirror of the second. [B, T, C] to [B, T + 1, C]."""

    official_axes = "bct"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([x[:, 1:2], x], axis=1)


class HiFTGenerator(Module):
    """`cosyvoice.hifigan.generator.HiFTGenerator`: mel [B, T, 80] to wav [B, 480 T] at 24 kHz.

    Raises:
        ValueError: sizes that the network cannot have, named with the field.
    """

    def __init__(self, config: HiFTConfig) -> None:
        super().__init__()
        _check_config(config)
        self.config = config
        rates, base = config.upsample_rates, config.base_channels
        self.stft = STFT(config.istft_params.n_fft, config.istft_params.hop_len)
        self.samples_per_frame = prod(rates) * self.stft.hop

        self.f0_predictor = ConvRNNF0Predictor(config.f0_predictor)
        self.f0_upsamp = Upsample(self.samples_per_frame)
        self.m_source = SourceModuleHnNSF(config, self.samples_per_frame)
        self.conv_pre = Conv1d(config.in_channels, base, 7, pad=(3, 3), weight_norm=True)
        widths = [base >> level for level in range(len(rates) + 1)]
        self.ups = [
            ConvTranspose1d(wide, narrow, kernel, stride=rate, padding=(kernel - rate) // 2, weight_norm=True)
            for wide, narrow, rate, kernel in zip(
                widths[:-1], widths[1:], rates, config.upsample_kernel_sizes, strict=True
            )
        ]
        # The source's spectrum has one frame a hop; each level needs it at its own, lower rate: strides 15, 3, 1.
        strides = list(accumulate([1, *rates[:0:-1]], mul))[::-1]
        bins = 2 * self.stft.bins
        self.source_downs = [
            Conv1d(bins, width, 1 if stride == 1 else 2 * stride, stride=stride, pad=(stride // 2, stride // 2))
            for width, stride in zip(widths[1:], strides, strict=True)
        ]
        self.source_resblocks = [
            ResBlock(width, kernel, dilations)
            for width, kernel, dilations in zip(
                widths[1:], config.source_resblock_kernel_sizes, config.source_resblock_dilation_sizes, strict=True
            )
        ]
        shapes = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.resblocks = [ResBlock(width, kernel, dilations) for width in widths[1:] for kernel, dilations in shapes]
        self.conv_post = Conv1d(widths[-1], bins, 7, pad=(3, 3), weight_norm=True)
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

    def decode(self, mel: mx.array, source: mx.array) -> mx.array:
        """mel [B, T, 80] and source [B, 480 T, 1] to wav [B, 480 T], float32, within +-audio_limit."""
        dtype = outer_dtype(self.conv_pre)
        x = self.conv_pre(mel.astype(dtype))
        spectrum = self.stft.forward(source.squeeze(-1)).astype(dtype)
        kernels = len(self.config.resblock_kernel_sizes)
        for level, (up, down, source_block) in enumerate(
            zip(self.ups, self.source_downs, self.source_resblocks, strict=True)
        ):
            x = up(functional.leaky_relu(x, self.config.lrelu_slope))
            if level == len(self.ups) - 1:
                x = self.reflection_pad(x)
            x = x + source_block(down(spectrum))
            blocks = self.resblocks[level * kernels : (level + 1) * kernels]
            x = sum((block(x) for block in blocks[1:]), blocks[0](x)) / kernels
        x = self.conv_post(functional.leaky_relu(x, 0.01)).astype(mx.float32)  # PyTorch's default slope here
        log_magnitude, phase = mx.split(x, 2, axis=-1)
        magnitude = mx.minimum(functional.exp(log_magnitude), MAX_MAGNITUDE)
        angle = functional.sin(phase)
        wav = self.stft.inverse(
            mx.concatenate([magnitude * functional.cos(angle), magnitude * functional.sin(angle)], axis=-1)
        )
        return mx.clip(wav, -self.config.audio_limit, self.config.audio_limit)

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
        self._check(mel, rand_ini, sine_noise, cache_source)
        source = self.source(self.f0_predictor(mel), rand_ini, sine_noise)
        if cache_source is not None:
            kept = source[:, cache_source.shape[1] :]
            source = mx.concatenate([cache_source.astype(source.dtype), kept], axis=1)
        return self.decode(mel, source), source

    def _check(self, mel: mx.array, rand_ini: mx.array, sine_noise: mx.array, cache_source: mx.array | None) -> None:
        channels = self.config.in_channels
        if mel.ndim != 3 or mel.shape[2] != channels or not mel.shape[1]:
            raise ValueError(f"mel must be [1, T, {channels}] with T >= 1, not {list(mel.shape)}")
        batch, samples, harmonics = mel.shape[0], mel.shape[1] * self.samples_per_frame, self.config.nb_harmonics + 1
        for name, tensor, shape in (
            ("rand_ini", rand_ini, [batch, harmonics]),
            ("sine_noise", sine_noise, [batch, samples, harmonics]),
        ):
            if list(tensor.shape) != shape:
                raise ValueError(f"{name} must be {shape} for a mel of {list(mel.shape)}, not {list(tensor.shape)}")
        if cache_source is not None:
            found = list(cache_source.shape)
            if len(found) != 3 or found[0] != batch or found[2] != 1 or found[1] > samples:
                raise ValueError(f"cache_source must be [{batch}, L, 1] with L <= {samples}, not {found}")


def _check_config(config: HiFTConfig) -> None:
    if config.sampling_rate == 22050:
        raise ValueError("sampling_rate 22050 is a CosyVoice 1 vocoder with another sine generator; 24000 is expected")
    n_fft, hop = config.istft_params.n_fft, config.istft_params.hop_len
    if n_fft % 2 or n_fft % hop:
        raise ValueError(f"istft_params: n_fft ({n_fft}) must be even and a multiple of hop_len ({hop})")
