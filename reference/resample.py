"""The official resampler, `torchaudio.transforms.Resample` with its defaults, in plain PyTorch."""

from __future__ import annotations

from math import ceil, gcd, pi

import torch
from torch import Tensor

#: Zero crossings of the sinc on each side, and where its band ends as a share of the lower Nyquist frequency.
ZERO_CROSSINGS, ROLL_OFF = 6, 0.99


def resample(wave: Tensor, source: int, target: int) -> Tensor:
    """[samples] at `source` Hz to [ceil(samples * target / source)] at `target` Hz, in the wave's dtype.

    A sinc that is cut by a squared cosine. Nothing is known of the time before and after the wave: it counts as zero.
    """
    if source == target:
        return wave
    common = gcd(source, target)
    stride, phases = source // common, target // common
    band = min(stride, phases) * ROLL_OFF
    reach = ceil(ZERO_CROSSINGS * stride / band)
    # one kernel for each place that an output can have between two strides of the input
    taps = torch.arange(-reach, reach + stride, dtype=torch.float64) / stride
    moments = torch.arange(phases, dtype=torch.float64) / phases
    crossings = ((taps[None, :] - moments[:, None]) * band).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = torch.cos(crossings * (pi / 2 / ZERO_CROSSINGS)).square()
    kernels = torch.sinc(crossings) * window * (band / stride)
    padded = torch.nn.functional.pad(wave, (reach, reach + stride))
    pieces = padded.unfold(0, kernels.shape[1], stride)
    return (pieces @ kernels.T.to(wave)).flatten()[: ceil(len(wave) * target / source)]
