"""The causal HiFT vocoder of CosyVoice3: mel to waveform, whole or in pieces that equal it."""

from __future__ import annotations

from functools import partial

import mlx.core as mx

from mlx_cosyvoice.config import CausalHiFTConfig
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn import Conv1d
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder.causal_conv import (
    CausalConv1dDownSample,
    CausalConv1dUpsample,
    LookaheadConv1d,
    causal,
    held_back,
)
from mlx_cosyvoice.vocoder.causal_f0_predictor import CausalConvRNNF0Predictor
from mlx_cosyvoice.vocoder.causal_source import CausalSineGen2
from mlx_cosyvoice.vocoder.generator import Generator, Layers


def _down(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> Conv1d:
    if stride == 1:
        return Conv1d(in_channels, out_channels, kernel_size)
    return CausalConv1dDownSample(in_channels, out_channels, kernel_size, stride)


class CausalHiFTGenerator(Generator):
    """`cosyvoice.hifigan.generator.CausalHiFTGenerator`: mel [B, T, 80] to wav [B, 480 T] at 24 kHz.

    Raises:
        ValueError: sizes that the network cannot have, named with the field.
    """

    config: CausalHiFTConfig
    causal = True

    def __init__(self, config: CausalHiFTConfig) -> None:
        conv_pre = partial(LookaheadConv1d, kernel_size=config.conv_pre_look_right + 1)
        layers = Layers(CausalConvRNNF0Predictor, CausalSineGen2, conv_pre, causal, CausalConv1dUpsample, _down)
        super().__init__(config, layers)

    @property
    def least(self) -> int:
        """How many frames a first piece must have that is not the last one: it says the first of them."""
        return self.f0_predictor.reach + self.conv_pre.reach + 2

    def sourced(self, frames: int, *, first: bool, finalize: bool) -> int:
        """How many frames of excitation a piece of so many mel frames makes."""
        return frames + self.f0_predictor.reach * (finalize - first)

    def upsampled(self, level: int, x: mx.array, cache: Cache | None) -> mx.array:
        x = self.ups[level](x, cache)
        starts = cache is None or cache.past is None
        return self.reflection_pad(x) if level == len(self.ups) - 1 and starts else x

    def source_spectrum(self, source: mx.array, finalize: bool, cache: Cache | None) -> mx.array:
        """The source's spectrum [B, F, 2 bins] at the frames of `conv_pre`, which is some behind the source."""
        half, ahead = self.stft.n_fft // 2, self.conv_pre.reach * self.samples_per_frame
        before = None if cache is None else cache.recalled()
        known = source if before is None else mx.concatenate([before, source], axis=1)
        if cache is not None:
            cache.remember(known[:, known.shape[1] - (ahead + half - self.stft.hop) :])
        signal = known if before is not None else mx.concatenate([known[:, half:0:-1], known], axis=1)
        if finalize:
            signal = mx.concatenate([signal, known[:, -2 : -half - 2 : -1]], axis=1)
        else:
            signal = signal[:, : signal.shape[1] - ahead + half]
        return self.stft.frames(signal)

    def _samples(self, spectra: mx.array, finalize: bool, cache: Cache | None) -> mx.array:
        """The waveform [B, L] of spectra [B, F, 2 bins]; unless it is final, without that of the last mel frame."""
        half, hop = self.stft.n_fft // 2, self.stft.hop
        before = None if cache is None else cache.recalled()
        begin = half if before is None else self.stft.n_fft - hop
        known = spectra if before is None else mx.concatenate([before, spectra], axis=1)
        end = (known.shape[1] - 1) * hop + half - (0 if finalize else self.samples_per_frame)
        if cache is not None:
            cache.remember(
                known[:, (end - self.stft.n_fft + hop) // hop :]
            )  # the first that samples from `end` on need
        return self.stft.samples(known, begin, end)

    def decode(self, mel: mx.array, source: mx.array, finalize: bool = True, cache: Cache | None = None) -> mx.array:
        """Mel and excitation to samples.

        Args:
            mel: [B, T, 80], the next frames.
            source: [B, 480 T, 1], their excitation.
            finalize: no frames follow. Otherwise `conv_pre` looks at the last four only, and the inverse transform
                waits for one more.
            cache: the pieces before.

        Returns:
            [B, 480 N], float32, within +-audio_limit.
        """
        known, context = held_back(mel.astype(outer_dtype(self.conv_pre)), self.conv_pre.reach, finalize, cache)
        spectrum = self.source_spectrum(source.squeeze(-1), finalize, cache)
        spectra = self.spectra(self.conv_pre(known, context), spectrum, cache)
        return self.limited(self._samples(spectra, finalize, cache))

    def __call__(
        self,
        mel: mx.array,
        *,
        rand_ini: mx.array,
        sine_noise: mx.array,
        finalize: bool = True,
        cache: Cache | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Synthesize an utterance, or the next piece of one.

        Args:
            mel: [1, T, 80], log mel at 50 frames a second: the next frames.
            rand_ini: [1, 9] in [0, 1), the harmonics' initial phases in turns, which are not heard.
            sine_noise: [1, 480 N, 9] in [0, 1), that of the N frames whose excitation is made: of all frames before
                there was that of as many as `position` says of the state.
            finalize: no frames follow. Otherwise the last three have no excitation yet, and the last eight are not
                said yet.
            cache: the pieces before.

        Returns:
            wav [1, 480 M] and the new excitation [1, 480 N, 1], float32; see `sourced` for N. In sum over the pieces
            they are those of the whole.

        Raises:
            ValueError: an argument of the wrong shape, named with what was expected.
        """
        first = cache is None or cache.past is None
        least = self.least if first and not finalize else int(first or not finalize)
        frames = mel.shape[1] if mel.ndim == 3 else 0
        sourced = self.sourced(frames, first=first, finalize=finalize)
        self.check_input(mel, rand_ini, sine_noise, least=least, sourced=sourced)
        if cache is not None:
            cache.count(sourced)
        known, context = held_back(mel, self.f0_predictor.reach, finalize, cache)
        source = self.source(self.f0_predictor(known, context, cache), rand_ini, sine_noise, cache=cache)
        return self.decode(known, source, finalize, cache), source
