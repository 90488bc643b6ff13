"""The causal vocoder piece by piece: no frame is vocoded twice, and there is no seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import mlx.core as mx

from mlx_cosyvoice.decoding.decoder import SourceNoise
from mlx_cosyvoice.nn.cache import Cache, CacheState, Held
from mlx_cosyvoice.vocoder import CausalHiFTGenerator


@dataclass(frozen=True, eq=False)
class CausalVocoderState(Held):
    """What is kept between steps.

    Attributes:
        waiting: [1, F, 80], the first frames while they are too few to say any of them.
        cache: of the network; None before its first run.
    """

    waiting: mx.array
    cache: CacheState | None = None

    def arrays(self) -> Iterator[mx.array]:
        yield self.waiting
        if self.cache is not None:
            yield from self.cache.arrays()


class CausalVocoder:
    """What `cosyvoice.cli.model.CosyVoice3Model.token2wav` says, which runs the vocoder on the whole mel each time.

    Args:
        hift: the vocoder.

    Attributes:
        delay: the last frames that wait for those after them.
    """

    def __init__(self, hift: CausalHiFTGenerator) -> None:
        self.hift, self.delay = hift, hift.least - 1

    def start(self) -> CausalVocoderState:
        """Before the first frame."""
        waiting = mx.zeros((1, 0, self.hift.config.in_channels))
        mx.eval(waiting)
        return CausalVocoderState(waiting)

    def step(
        self, state: CausalVocoderState, mel: mx.array, noise: SourceNoise, *, final: bool
    ) -> tuple[mx.array, CausalVocoderState]:
        """Vocode what can be.

        Args:
            state: of the utterance so far; it stays as it is.
            mel: [1, T, 80] the next frames; T may be 0.
            noise: called once if there is any new excitation.
            final: no frames come after these.

        Returns:
            float32 samples [480 n] of the next n frames, n being 0 if too little is known yet; and the new state.
            Both evaluated.

        Raises:
            ValueError: a mel of another shape.
        """
        known, first = mx.concatenate([state.waiting, mel.astype(mx.float32)], axis=1), state.cache is None
        frames = known.shape[1]
        if frames < (int(first) if final else self.hift.least if first else 1):
            mx.eval(known)
            return mx.zeros((0,)), replace(state, waiting=known)
        cache = Cache(state.cache)
        begin = 0 if state.cache is None else state.cache.position
        end = begin + self.hift.sourced(frames, first=first, finalize=final)
        scale = self.hift.samples_per_frame
        rand_ini, sine_noise = noise((end - begin) * scale, begin * scale)
        wav, _ = self.hift(known, rand_ini=rand_ini, sine_noise=sine_noise, finalize=final, cache=cache)
        renewed = CausalVocoderState(known[:, frames:], cache.state)
        mx.eval(wav, list(renewed.arrays()))
        return wav[0], renewed
