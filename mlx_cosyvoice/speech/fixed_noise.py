"""The noise of the causal vocoder, which is the same for every utterance.

Officially PyTorch draws it when the vocoder is built from the published YAML, whose seed is 0, and no file holds it:
288 MB. PyTorch's generator on a CPU is the Mersenne twister, as NumPy's old one is, and a float32 in [0, 1) is the low
24 bits of one output. So any rows can be drawn when they are needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import SourceNoise

SEED = 0
#: What is drawn before, one output each: the flow's noise, the parameters of the flow's embedding and of its affine
#: layer for the speaker, and those of the f0 predictor.
DRAWN_BEFORE = 80 * 15000 + 6561 * 80 + (192 * 80 + 80) + 3312641
#: Harmonics, and samples: 300 s.
HARMONICS, SAMPLES = 9, 300 * 24000
#: Samples from one kept state of the generator to the next. A state has 2.5 kB, drawing so many samples takes 2 ms.
STRIDE = 24000


def _generator(state: Any) -> np.random.MT19937:
    generator = np.random.MT19937()
    generator.state = state
    return generator


@cache
def _state(place: int) -> Any:
    """The generator's state before sample `place * STRIDE`; before the initial phases for -1."""
    if place < 0:
        generator, outputs = _generator(np.random.RandomState(SEED).get_state(legacy=False)), DRAWN_BEFORE
    elif not place:
        generator, outputs = _generator(_state(-1)), HARMONICS
    else:
        generator, outputs = _generator(_state(place - 1)), STRIDE * HARMONICS
    generator.random_raw(outputs, output=False)
    return generator.state


def _rows(generator: np.random.MT19937, count: int) -> np.ndarray:
    """The next rows, [count, 9] float32 in [0, 1)."""
    raw = generator.random_raw(count * HARMONICS).reshape(count, HARMONICS)
    return (raw & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)


def rand_ini() -> mx.array:
    """The harmonics' initial phases in turns, [1, 9] in [0, 1). The first is 0."""
    phases = _rows(_generator(_state(-1)), 1)
    phases[:, 0] = 0
    return mx.array(phases)


def source_noise(key: mx.array, sines: int) -> SourceNoise:
    """The draws of every utterance; arguments as of `randomness.source_noise`, which change nothing here."""

    def draw(samples: int, start: int = 0) -> tuple[mx.array, mx.array]:
        return rand_ini(), sine_waves(start, samples)

    return draw


def sine_waves(start: int, count: int) -> mx.array:
    """The noise of `count` samples from `start` on, [1, count, 9] in [0, 1).

    Raises:
        ValueError: the official noise ends before.
    """
    if start < 0 or count < 0 or start + count > SAMPLES:
        raise ValueError(
            f"samples {start} to {start + count} are wanted: the vocoder's noise has {SAMPLES} ({SAMPLES // 24000} s)"
        )
    place, skipped = divmod(start, STRIDE)
    for earlier in range(place):
        _state(earlier)  # each is made from the one before
    generator = _generator(_state(place))
    generator.random_raw(skipped * HARMONICS, output=False)
    return mx.array(_rows(generator, count)[None])
