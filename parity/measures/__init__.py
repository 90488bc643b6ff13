"""Measures that mean something for speech. Pure NumPy; a NaN or an infinity never gives a good value."""

from parity.measures.caches import CacheDifference, cache_diff
from parity.measures.euler import euler_step_errors
from parity.measures.mel import band_bias, band_variance_ratio, mel_statistics
from parity.measures.pitch import f0_error, voicing_agreement
from parity.measures.seams import Seams, chunk_boundaries, seam_errors
from parity.measures.speaker import speaker_cosine
from parity.measures.spectral import log_spectral_distance
from parity.measures.tokens import Flip, first_flip
from parity.measures.wave import aligned_snr, find_lag, snr_db

__all__ = [
    "CacheDifference",
    "Flip",
    "Seams",
    "aligned_snr",
    "band_bias",
    "band_variance_ratio",
    "cache_diff",
    "chunk_boundaries",
    "euler_step_errors",
    "f0_error",
    "find_lag",
    "first_flip",
    "log_spectral_distance",
    "mel_statistics",
    "seam_errors",
    "snr_db",
    "speaker_cosine",
    "voicing_agreement",
]
