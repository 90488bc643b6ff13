"""The parts of the way from a recording's features to the wave that can be swapped between the two sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_parity.sides import Side
from parity.stages import STAGES, Stage, vocoder
from parity.stages.base import Given


@dataclass(frozen=True)
class Part:
    """A stage, or what it does between two of its inner results.

    Attributes:
        name: unique; `title` is for people.
        stage: that it belongs to.
        needs: the names of all arrays that it reads: equal arrays give equal outputs.
        call: makes its outputs by name, on either side.
    """

    name: str
    title: str
    stage: Stage
    needs: tuple[str, ...]
    call: Callable[[Side, Given], dict[str, np.ndarray]]


def _whole(name: str) -> Part:
    """A stage as other stages see it: what it publishes."""
    stage = _stage(name)

    def call(side: Side, given: Given) -> dict[str, np.ndarray]:
        return stage.publish(stage.call(side, given), given)

    return Part(name, stage.title, stage, stage.needs, call)


def _third(name: str, title: str, needs: tuple[str, ...], make: Callable[..., Any], draws: bool = False) -> Part:
    """A third of the vocoder. Its phase is a running sum of F0, so that the origin of an error is worth knowing."""

    def call(side: Side, given: Given) -> dict[str, np.ndarray]:
        return make(side, {**given, **(vocoder.draws(side.module, given.tape, given["f0"].shape[1]) if draws else {})})

    return Part(f"vocoder.{name}", f"Vocoder: {title}", _stage("vocoder"), needs, call)


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


#: In data-flow order. The language model is none of them: its tokens are the reference's on both sides.
PARTS = (
    *map(_whole, ("audio_features", "speech_tokenizer", "speaker_encoder", "flow_encoder", "flow_decoder")),
    _third("f0", "F0", ("mel",), vocoder.f0),
    _third("source", "source", ("f0",), vocoder.source, draws=True),
    _third("decode", "generator", ("mel", "source"), vocoder.generated),
)
