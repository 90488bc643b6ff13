"""One seed, and from it independent draws for every segment: of tokens and of the vocoder's source."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from mlx_cosyvoice.decoding import SourceNoise


def segment_keys(seed: int) -> Iterator[tuple[mx.array, mx.array]]:
    """For each segment the keys of its tokens and of its vocoder.

    Raises:
        ValueError: `seed` is not in 0..2^64-1.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}, must lie in 0..2^64-1")
    return _segment_keys(mx.random.key(seed))


def _segment_keys(key: mx.array) -> Iterator[tuple[mx.array, mx.array]]:
    while True:
        key, tokens, vocoder = mx.random.split(key, 3)
        mx.eval(key, tokens, vocoder)  # the next draw may be another thread's
        yield tokens, vocoder


def source_noise(key: mx.array, sines: int) -> SourceNoise:
    """Draws for the vocoder's harmonic source.

    Args:
        key: the same key gives the same draws, call by call.
        sines: the fundamental and its harmonics, 9.

    Returns:
        samples -> (rand_ini [1, sines] in [0, 1), sine_noise [1, samples, sines] standard normal).
    """
    keys = _segment_keys(key)

    def draw(samples: int) -> tuple[mx.array, mx.array]:
        phase, noise = next(keys)
        return mx.random.uniform(shape=(1, sines), key=phase), mx.random.normal((1, samples, sines), key=noise)

    return draw
