"""Audio files out: 16-bit wav, whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path

import numpy as np
import soundfile


def write_wav(path: str | os.PathLike[str], samples: np.ndarray, sample_rate: int, *, force: bool = False) -> None:
    """Write mono `samples` [samples] in [-1, 1] as a 16-bit PCM wav file; what lies outside is clipped.

    The file is written under a hidden name beside `path` and then renamed, so `path` never holds half a file.

    Raises:
        FileExistsError: `path` exists and `force` is not given.
        FileNotFoundError: the folder of `path` does not exist.
        ValueError: `samples` is not [samples], is empty, or holds NaN or infinite values.
        OSError: the file cannot be written (no space, no permission); nothing is left behind.
    """
    path = Path(path)
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"{path}: samples must be a non-empty [samples] array, not of shape {list(samples.shape)}")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: {int(np.sum(~np.isfinite(samples)))} samples are NaN or infinite")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; give force=True (--force) to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    # Encoded in memory first: plain file writes report a full disk as the OSError it is, libsndfile does not.
    encoded = io.BytesIO()
    soundfile.write(encoded, np.clip(samples, -1.0, 1.0), sample_rate, subtype="PCM_16", format="WAV")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(encoded.getbuffer())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
