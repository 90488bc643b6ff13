"""The draws of one utterance: those that the package makes of a seed, for the package and for PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.decoding import SourceNoise
from mlx_cosyvoice.llm.uniforms import uniforms
from mlx_cosyvoice.speech.randomness import segment_keys, source_noise
from reference.streaming import Draw

#: The fundamental and its harmonics.
SINES = 9


@dataclass(frozen=True)
class Tape:
    """What `SpeechModel.stream` draws of `seed` for the only segment of a text. Every call winds it back."""

    seed: int

    @property
    def _keys(self) -> tuple[mx.array, mx.array]:
        return next(segment_keys(self.seed))

    def uniforms(self) -> Iterable[float]:
        """For the sampler: an endless row of numbers in [0, 1)."""
        return uniforms(self._keys[0])

    def noise(self) -> SourceNoise:
        """For the vocoder."""
        return source_noise(self._keys[1], SINES)

    def torch_noise(self) -> Draw:
        """The same for the vocoder in PyTorch."""
        draw = self.noise()

        def drawn(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
            phase, noise = (torch.from_numpy(np.array(part)) for part in draw(samples))
            return phase, noise

        return drawn
