"""A waveform as a wav file, in one call."""

from __future__ import annotations

import os

import numpy as np

from mlx_cosyvoice.audio.writer import open_audio


def write_wav(path: str | os.PathLike[str], samples: np.ndarray, sample_rate: int, *, force: bool = False) -> None:
    """Write mono `samples` [samples] in [-1, 1] as a 16-bit PCM wav file; what lies outside is clipped.

    `path` never holds half a file: see `open_audio`, which also writes other formats.

    Raises:
        FileExistsError: `path` exists and `force` is not given.
        FileNotFoundError: the folder of `path` does not exist.
        ValueError: `samples` is not [samples], is empty, or holds NaN or infinite values.
        OSError: the file cannot be written (no space, no permission); nothing is left behind.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"{path}: samples must be a non-empty [samples] array, not of shape {list(samples.shape)}")
    with open_audio(path, sample_rate, format="wav", force=force) as out:
        out.write(samples)
