"""The fundamental frequency of clean speech, measured by normalised autocorrelation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RATE, HOP, WINDOW = 24000, 480, 960
LOWEST, HIGHEST = 60.0, 300.0
#: What is above, in Hz, is left out: hissing is no voice, and formants have periods of their own.
BAND = 700.0
#: A frame is voiced from this correlation and loudness (root mean square) on.
VOICED, LOUD = 0.55, 0.005
#: The shortest lag counts whose correlation reaches this share of the best: it is not a multiple of the period.
OCTAVE = 0.94


def pitch(wave: Tensor) -> Tensor:
    """wave [samples] at 24 kHz, `samples` a multiple of 480, to F0 in Hz [samples / 480], 0 where it is unvoiced.

    A frame's value belongs to its middle.
    """
    shortest, longest = int(RATE / HIGHEST), int(RATE / LOWEST)
    reach = WINDOW + longest + 1
    before = (reach - HOP) // 2
    spectrum = torch.fft.rfft(wave)
    spectrum[int(BAND * len(wave) / RATE) :] = 0
    low = torch.fft.irfft(spectrum, len(wave))
    frames = F.pad(low, (before, reach - before)).unfold(0, reach, HOP)[: len(wave) // HOP]
    frames = frames - frames.mean(1, keepdim=True)
    head = F.pad(frames[:, :WINDOW], (0, reach - WINDOW))
    size = 2 * reach
    product = torch.fft.irfft(torch.fft.rfft(head, size).conj() * torch.fft.rfft(frames, size), size)[:, : longest + 2]
    energy = F.pad(frames.square().cumsum(1), (1, 0))
    energies = energy[:, WINDOW : WINDOW + longest + 2] - energy[:, : longest + 2]
    correlation = product / (energies[:, :1] * energies + 1e-8).sqrt()
    inside = correlation[:, shortest - 1 : longest + 2]
    middle = inside[:, 1:-1]
    peaks = (middle >= inside[:, :-2]) & (middle > inside[:, 2:])
    best = middle.masked_fill(~peaks, 0).amax(1, keepdim=True)
    good = peaks & (middle >= OCTAVE * best) & (best > 0)
    index = good.int().argmax(1, keepdim=True)
    left, centre, right = (inside.gather(1, index + offset) for offset in range(3))
    shift = (0.5 * (left - right) / (left - 2 * centre + right).clamp(max=-1e-6)).clamp(-0.5, 0.5)
    found = RATE / (index + shortest + shift)[:, 0]
    voiced = (best[:, 0] > VOICED) & (energies[:, 0] > WINDOW * LOUD**2)
    # A single frame that differs from both neighbours is a slip.
    return F.pad((found * voiced)[None, None], (1, 1), mode="replicate")[0, 0].unfold(0, 3, 1).median(1).values
