"""The vocoder's excitation: a sum of harmonics of f0, and noise where the voice is silent.

Official code: `cosyvoice.hifigan.generator`, `SineGen2` and `SourceModuleHnNSF`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """Phases and Fourier transforms are never computed in half precision; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


class SineGen2(nn.Module):
    """`m_source.l_sin_gen`: sines at the harmonics of f0, with noise.

    The phase is summed at the mel frame rate and stretched to the sample rate. It is not wrapped before the sine, so
    float32 rounds it by up to 0.002 rad after a second of speech; the order of operations here is the official one,
    because another order rounds differently.
    """

    #: How the phase is stretched, as `torch.nn.functional.interpolate` names it.
    stretching: ClassVar[str] = "linear"
    #: Whether the noise is uniform in [0, 1), and not standard normal.
    uniform: ClassVar[bool] = False

    def __init__(
        self,
        sampling_rate: int,
        upsample_scale: int,
        harmonic_num: int,
        sine_amp: float,
        noise_std: float,
        voiced_threshold: float,
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.upsample_scale = upsample_scale
        self.harmonic_num = harmonic_num
        self.sine_amp = sine_amp
        self.noise_std = noise_std
        self.voiced_threshold = voiced_threshold

    def sines(self, harmonics: Tensor, rand_ini: Tensor) -> Tensor:
        """sin of the running phase of `harmonics` (Hz, [B, L, H]); same shape."""
        turns = (harmonics / self.sampling_rate) % 1
        # The initial phases are added to sample 0 only, which the down-sampling below never picks (it averages the
        # two middle samples of each frame): the official code draws them to no effect.
        initial = rand_ini.to(turns.dtype).clone()
        initial[:, 0] = 0
        turns[:, 0] += initial

        by_frame = F.interpolate(turns.mT, scale_factor=1 / self.upsample_scale, mode="linear")
        phase = torch.cumsum(by_frame.mT, dim=1) * 2 * math.pi
        scale = self.upsample_scale
        return torch.sin(F.interpolate(phase.mT * scale, scale_factor=scale, mode=self.stretching).mT)

    def forward(self, f0: Tensor, rand_ini: Tensor, sine_noise: Tensor) -> Tensor:
        """f0 [B, L, 1] in Hz at the sample rate, rand_ini [B, H] in turns, sine_noise [B, L, H]. Gives [B, L, H]."""
        numbers = torch.arange(1, self.harmonic_num + 2, dtype=f0.dtype, device=f0.device)
        sines = self.sines(f0 * numbers, rand_ini) * self.sine_amp
        voiced = (f0 > self.voiced_threshold).to(f0.dtype)
        noise_amp = voiced * self.noise_std + (1 - voiced) * self.sine_amp / 3
        return sines * voiced + noise_amp * sine_noise.to(f0.dtype)


class SourceModuleHnNSF(nn.Module):
    """`m_source`: merges the harmonics into one excitation signal.

    The official module also draws noise for a second branch, which the network never reads; it is left out.
    """

    def __init__(self, sin_gen: SineGen2) -> None:
        super().__init__()
        self.l_sin_gen = sin_gen
        self.l_linear = nn.Linear(sin_gen.harmonic_num + 1, 1)
        self.l_tanh = nn.Tanh()

    def forward(self, f0: Tensor, rand_ini: Tensor, sine_noise: Tensor) -> Tensor:
        """f0 [B, L, 1] in Hz at the sample rate; gives [B, L, 1]."""
        sines = self.l_sin_gen(at_least_float32(f0), rand_ini, sine_noise)
        return self.l_tanh(self.l_linear(sines.to(self.l_linear.weight.dtype)))
