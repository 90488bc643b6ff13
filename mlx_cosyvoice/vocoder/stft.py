"""The short-time Fourier transform of `torch.stft` and its inverse, for windows of a few samples.

Window: periodic Hann, as long as the transform. Signals are centered: reflected by half a window at both ends. At
n_fft = 16 a product with the windowed Fourier matrix is simpler than an FFT, and as exact. Always float32.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np


class STFT(NamedTuple):
    """A transform of `n_fft` samples every `hop` samples; `n_fft` is even and a multiple of `hop`."""

    n_fft: int
    hop: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    def _window(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.n_fft) / self.n_fft)

    def _angles(self) -> np.ndarray:
        return 2 * np.pi * np.outer(np.arange(self.n_fft), np.arange(self.bins)) / self.n_fft

    def forward(self, signal: mx.array) -> mx.array:
        """[B, L] to [B, L / hop + 1, 2 bins]: the real parts, then the imaginary parts.

        Raises:
            ValueError: a signal too short to be reflected by half a window.
        """
        half = self.n_fft // 2
        length = signal.shape[1]
        if length <= half:
            raise ValueError(f"signal has {length} samples, its transform needs more than {half}")
        return self.frames(signal[:, mx.array(np.pad(np.arange(length), half, mode="reflect"))])

    def frames(self, signal: mx.array) -> mx.array:
        """The same of the frames that lie within a signal [B, L]: [B, (L - n_fft) / hop + 1, 2 bins]."""
        count = (signal.shape[1] - self.n_fft) // self.hop + 1
        starts = np.arange(count)[:, None] * self.hop + np.arange(self.n_fft)
        pieces = signal.astype(mx.float32)[:, mx.array(starts)]
        angles = self._angles()
        basis = self._window()[:, None] * np.concatenate([np.cos(angles), -np.sin(angles)], axis=1)
        return pieces @ mx.array(basis.astype(np.float32))

    def inverse(self, spectrum: mx.array) -> mx.array:
        """The inverse of `forward`: [B, F, 2 bins] to [B, (F - 1) hop].

        Spectra that are no signal's transform give the least-squares signal, as `torch.istft` does.
        """
        half = self.n_fft // 2
        return self.samples(spectrum, half, (spectrum.shape[1] - 1) * self.hop + half)

    def samples(self, spectrum: mx.array, begin: int, end: int) -> mx.array:
        """The inverse of `frames`: [B, F, 2 bins] to [B, end - begin], counted from where the first frame begins."""
        batch, frames, _ = spectrum.shape
        angles = self._angles().T
        # A real signal's spectrum is symmetric: bins 0 and n_fft / 2 occur once, the others twice.
        times = np.full((self.bins, 1), 2.0)
        times[[0, -1]] = 1.0
        basis = np.concatenate([times * np.cos(angles), -times * np.sin(angles)]) * self._window() / self.n_fft
        pieces = spectrum.astype(mx.float32) @ mx.array(basis.astype(np.float32))

        # Overlap-add in blocks of one hop: block b of the signal sums part q of frame b - q.
        overlap = self.n_fft // self.hop
        pieces = pieces.reshape(batch, frames, overlap, self.hop)
        signal = mx.zeros((batch, frames + overlap - 1, self.hop))
        weight = np.zeros((frames + overlap - 1, self.hop))
        squares = np.square(self._window()).reshape(overlap, self.hop)
        for part in range(overlap):
            signal = signal + mx.pad(pieces[:, :, part], [(0, 0), (part, overlap - 1 - part), (0, 0)])
            weight[part : part + frames] += squares[part]
        signal = signal.reshape(batch, -1)[:, begin:end]
        return signal / mx.array(weight.reshape(-1)[begin:end].astype(np.float32))
