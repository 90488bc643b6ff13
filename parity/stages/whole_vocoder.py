"""What a vocoder makes of a whole utterance, which a port makes piece by piece."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mlx_parity.sides import Side
from parity.stages import convolutions
from parity.stages.base import Outputs
from parity.stages.convolutions import Seams

#: The random numbers of the utterance's excitation: `rand_ini` and `sine_noise`.
Draws = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Whole:
    """Arrays in the official layout.

    `seams` are of the vocoder's convolutions where it is causal, of whose own making f0 and the wave are then; `within`
    is what is compared of them where the model is isolated, by name.
    """

    mel: np.ndarray
    f0: np.ndarray
    source: np.ndarray
    seams: Seams
    within: Outputs


#: It may know more of the utterance.
Known = TypeVar("Known", bound=Whole)


def vocoded(side: Side, mel: np.ndarray, draws: Draws) -> tuple[Whole, np.ndarray]:
    """What the reference's vocoder makes of a mel [1, 80, T], and the wave [1, 480 T]."""
    hift = side.module.hift
    given = side.array(mel).to(hift.m_source.l_linear.weight.dtype)  # as `inference` takes it
    with convolutions.watched(side, hift) as watching:
        f0 = hift.f0_predictor(given)
        source = hift.source(f0, *map(side.array, draws))
        wav = hift.decode(given, source)
    within = convolutions.outputs(side, hift, watching.seams, {})
    made = Whole(side.numpy(given), side.numpy(f0), side.numpy(source), watching.seams, within)
    return made, side.numpy(wav)


def exactly(side: Side, whole: Known, draws: Draws) -> tuple[Known, np.ndarray]:
    """The same in float64 by the same weights, each part of which gets what it got there."""
    exact = copy.deepcopy(side.module.hift).double()
    mel, f0, source = map(side.array, (whole.mel, whole.f0, whole.source))
    made = exact.source(f0, *map(side.array, draws))
    seams = convolutions.exactly(side, exact, whole.seams)
    within = convolutions.outputs(side, exact, seams, {})
    wav = side.numpy(exact.decode(mel, source))
    f0 = side.numpy(exact.f0_predictor(mel))
    return replace(whole, f0=f0, source=side.numpy(made), seams=seams, within=within), wav
