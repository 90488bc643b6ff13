"""The vocoder frame by frame: what it says of a frame is final, and equals what one run over everything says.

The network's convolutions see some frames to both sides, so a frame is vocoded once enough frames after it are known,
in a window that holds as many before it. The excitation's phase goes on where it was: its running sum is kept as whole
numbers, so that nothing is lost however long the utterance is. There is no seam to fade over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx

from mlx_cosyvoice.config import HiFTConfig
from mlx_cosyvoice.decoding.decoder import SourceNoise
from mlx_cosyvoice.nn import Conv1d
from mlx_cosyvoice.nn.cache import Cache, CacheState, Held
from mlx_cosyvoice.vocoder import HiFTGenerator


@dataclass(frozen=True, eq=False)
class VocoderState(Held):
    """What is kept between steps; frames are counted from the start of the utterance.

    Attributes:
        mel: [1, F, 80], the last frames.
        source: [1, 480 S, 1] the excitation of the first S of them.
        phase: of the excitation where it ends; None before the first frame.
        spoken: how many frames have been spoken.
        start: which frame `mel` and `source` start with.
    """

    mel: mx.array
    source: mx.array
    phase: CacheState | None = None
    spoken: int = 0
    start: int = 0

    def arrays(self) -> Iterator[mx.array]:
        yield from (self.mel, self.source)
        if self.phase is not None:
            yield from self.phase.arrays()


def receptive_frames(config: HiFTConfig) -> int:
    """How many mel frames to one side a sample depends on, f0 left aside; rounded up."""
    frames, rate = 3.0, 1  # conv_pre
    blocks = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
    sources = zip(config.source_resblock_kernel_sizes, config.source_resblock_dilation_sizes, strict=True)
    levels = zip(config.upsample_rates, config.upsample_kernel_sizes, sources, strict=True)
    for upsampling, kernel, source_block in levels:
        frames += (kernel / upsampling) / rate
        rate *= upsampling
        # every dilated convolution of a block is followed by a plain one, and the source's block comes before
        reaches = [(size - 1) / 2 * (sum(dilations) + len(dilations)) for size, dilations in [*blocks, source_block]]
        frames += max(reaches) / rate
    # conv_post, the source's down-sampling and both transforms
    frames += (3 + 1 + 2 * config.istft_params.n_fft / config.istft_params.hop_len) / rate
    return math.ceil(frames)


class IncrementalVocoder:
    """HiFT in steps; the last `delay` frames wait for those after them.

    Args:
        hift: the vocoder.
    """

    def __init__(self, hift: HiFTGenerator) -> None:
        self.hift = hift
        self.reach = receptive_frames(hift.config)
        convolutions = [layer for layer in hift.f0_predictor.condnet.layers() if isinstance(layer, Conv1d)]
        #: frames after a frame that its excitation needs: those that f0 sees, and the next one's phase
        self.source_delay = len(convolutions) + 1
        self.delay = self.source_delay + self.reach

    def start(self) -> VocoderState:
        """Before the first frame."""
        mel, source = mx.zeros((1, 0, self.hift.config.in_channels)), mx.zeros((1, 0, 1))
        mx.eval(mel, source)
        return VocoderState(mel, source)

    def step(
        self, state: VocoderState, mel: mx.array, noise: SourceNoise, *, final: bool
    ) -> tuple[mx.array, VocoderState]:
        """Vocode what can be.

        Args:
            state: of the utterance so far; it stays as it is.
            mel: [1, T, 80] the next frames; T may be 0.
            noise: called once if there is any new excitation, with the number of its samples.
            final: no frames come after these.

        Returns:
            float32 samples [480 n] of the next n frames, n being 0 if too little is known yet; and the new state.
            Both evaluated.

        Raises:
            ValueError: a mel of another shape.
        """
        bins = self.hift.config.in_channels
        if mel.ndim != 3 or mel.shape[0] != 1 or mel.shape[2] != bins:
            raise ValueError(f"mel must be [1, T, {bins}], not {list(mel.shape)}")
        known = mx.concatenate([state.mel, mel.astype(mx.float32)], axis=1)
        end = state.start + known.shape[1]
        sourced = end if final else max(end - self.source_delay, 0)
        source, phase = self._source(state, known, sourced, noise, final)
        spoken = end if final else max(sourced - self.reach, state.spoken)
        wav = mx.zeros((0,))
        scale = self.hift.samples_per_frame
        if spoken > state.spoken:
            heard = self.hift.decode(known[:, : sourced - state.start], source)
            wav = heard[0, (state.spoken - state.start) * scale : (spoken - state.start) * scale]
        start = max(spoken - self.reach, 0)
        skipped = start - state.start
        renewed = VocoderState(
            mx.contiguous(known[:, skipped:]), mx.contiguous(source[:, skipped * scale :]), phase, spoken, start
        )
        mx.eval(wav, list(renewed.arrays()))
        return wav, renewed

    def _source(
        self, state: VocoderState, known: mx.array, end: int, noise: SourceNoise, final: bool
    ) -> tuple[mx.array, CacheState | None]:
        """The excitation from frame `state.start` to `end`, and the phase to go on with."""
        scale = self.hift.samples_per_frame
        begin = state.start + state.source.shape[1] // scale
        if end <= begin:
            return state.source, state.phase
        before, after = max(begin - 1, 0), end if final else end + 1
        f0 = self.hift.f0_predictor(known)[:, before - state.start : after - state.start]
        cache = Cache(state.phase)
        source = self.hift.source(f0, *noise((end - begin) * scale), start=begin, cache=cache)
        return mx.concatenate([state.source, source], axis=1), cache.state
