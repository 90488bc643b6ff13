"""Samples as the bytes of a wav or raw file."""

from __future__ import annotations

import numpy as np

#: Name of a subtype -> bytes a sample.
SAMPLE_BYTES = {"pcm16": 2, "pcm24": 3, "float": 4}


def encode_pcm(samples: np.ndarray, subtype: str) -> bytes:
    """Little-endian bytes of float32 samples [samples]; 1 is full scale, and integers clip there.

    Args:
        samples: finite.
        subtype: a key of `SAMPLE_BYTES`.
    """
    if subtype == "float":
        return samples.astype("<f4").tobytes()
    bits = 8 * SAMPLE_BYTES[subtype]
    full = 2.0 ** (bits - 1)
    integers = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1)
    if subtype == "pcm16":
        return integers.astype("<i2").tobytes()
    return integers.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
