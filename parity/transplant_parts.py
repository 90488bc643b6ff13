"""The parts of the way from a recording's features to the wave that can be swapped between the two sides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from parity.stages import STAGES, Settings, Stage
from parity.stages.base import Arrays, tensor
from parity.stages.vocoder import Vocoder
from parity.tape import Tape


class Part(ABC):
    """One part. `needs` are the names of all arrays it reads: equal arrays give equal outputs."""

    name: str
    title: str
    component: str
    stage: str
    needs: tuple[str, ...]

    @abstractmethod
    def run_reference(
        self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype
    ) -> dict[str, np.ndarray]:
        """What the reference makes of `given`, in the official layout."""

    @abstractmethod
    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> dict[str, np.ndarray]:
        """What the MLX module makes of it, in the official layout."""


class StagePart(Part):
    """A stage as a whole, as other stages see it: what it publishes."""

    def __init__(self, stage: Stage, *also_needs: str) -> None:
        self._stage = stage
        self.name, self.title, self.component = stage.name, stage.title, stage.component
        self.stage, self.needs = stage.name, (*stage.needs, *also_needs)

    def run_reference(
        self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype
    ) -> dict[str, np.ndarray]:
        return self._stage.publish(self._stage.run_reference(module, given, tape, settings, dtype), given)

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> dict[str, np.ndarray]:
        return self._stage.publish(self._stage.run_model(module, given, tape, settings), given)


@dataclass(frozen=True)
class VocoderPart(Part):
    """A third of the vocoder. Its phase is a running sum of F0, so that the origin of an error is worth knowing.

    `function` takes the module of either side, which name their methods alike, and the arrays of `needs` in the
    layout of that side; `draws` says that the random numbers of the tape follow.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    gives: str
    function: Callable[..., Any]
    draws: bool = False
    component: str = "hift"
    stage: str = "vocoder"

    def _draws(self, given: Arrays, tape: Tape) -> tuple[np.ndarray, ...]:
        return Vocoder._draws(tape, given["f0"].shape[1]) if self.draws else ()

    def run_reference(
        self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype
    ) -> dict[str, np.ndarray]:
        arrays = [*(given[name] for name in self.needs), *self._draws(given, tape)]
        output = self.function(module, *(tensor(array, dtype) for array in arrays))
        return {self.gives: output.to(torch.float64).numpy()}

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> dict[str, np.ndarray]:
        arrays = [_channels_swapped(given[name]) for name in self.needs]
        output = self.function(module, *map(mx.array, [*arrays, *self._draws(given, tape)]))
        return {self.gives: _channels_swapped(np.array(output.astype(mx.float32)))}


def _channels_swapped(array: np.ndarray) -> np.ndarray:
    """Channels first to channels last, or back; [batch, time] stays."""
    return array.transpose(0, 2, 1) if array.ndim == 3 else array


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


#: In data-flow order. The language model is none of them: its tokens are the reference's on both sides.
PARTS: tuple[Part, ...] = (
    StagePart(_stage("audio_features")),
    StagePart(_stage("speech_tokenizer")),
    StagePart(_stage("speaker_encoder")),
    StagePart(_stage("flow_encoder")),
    StagePart(_stage("flow_decoder"), "prompt_feat"),
    VocoderPart(
        "vocoder.f0",
        "Vocoder: F0",
        ("mel",),
        "f0",
        lambda module, mel: module.f0_predictor(mel),
    ),
    VocoderPart(
        "vocoder.source",
        "Vocoder: source",
        ("f0",),
        "source",
        lambda module, f0, *draws: module.source(f0, *draws),
        draws=True,
    ),
    VocoderPart(
        "vocoder.decode",
        "Vocoder: generator",
        ("mel", "source"),
        "wav",
        lambda module, mel, source: module.decode(mel, source),
    ),
)
