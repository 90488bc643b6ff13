"""The offline decoder: what it hands to flow and vocoder, and the speed of speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from parity.sides import entry
from parity.stages.base import Given, Outputs, Sides
from parity.stages.flow_pieces import utterance
from parity.stages.loop import Loop, phase_floor
from parity.stages.vocoder import noise as source_noise
from parity.stages.vocoder import samples_per_frame

#: Slower, faster, and as it was learned.
SPEEDS = (0.8, 1.0, 1.7)
#: An odd number of Euler steps, which is not the default.
TIMESTEPS = 3
#: Which of the flow's arguments are compared.
ARRAYS, FLAGS = ("token", "prompt_token", "prompt_feat", "embedding"), ("streaming", "finalize", "n_timesteps")


@dataclass
class Made:
    """What the networks made at one speed; arrays in the official layout. `f0` is None where they were answered for."""

    mel: np.ndarray
    wav: np.ndarray
    f0: np.ndarray | None


class Offline(Loop):
    name = "offline"
    title = "Offline decoder"
    details = (*Loop.details, Made)
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    modes = (None,)
    owners: ClassVar[Mapping[str, str]] = {
        f"{part}_{speed}": owner
        for speed in SPEEDS
        for part, owner in {
            **dict.fromkeys((*ARRAYS, "flags"), "offline.flow"),
            "mel": "offline.change_speed",
            **dict.fromkeys(("noise", "wav"), "offline.vocoder"),
        }.items()
    }

    def carried(self, name: str, sides: Sides) -> float:
        """What the phase adds up; see `phase_floor`."""
        part, _, speed = name.rpartition("_")
        every = [(one.details or {}).get(float(speed)) for one in (sides.actual, sides.expected, sides.exact)]
        return phase_floor(name, sides, *(made and made.f0 for made in every)) if part == "wav" else 0.0

    def call(self, side: Side, given: Given) -> Outputs:
        return _run(side, given, None)

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        return _run(side, given, expected.details)


def _run(side: Side, given: Given, right: dict[float, Made] | None) -> Outputs:
    """The utterance at every speed; with `right`, that is what the networks answer."""
    outputs, asked = Outputs(details={}), list[tuple[tuple[np.ndarray, ...], np.ndarray]]()
    (flow, hift), method = side.module, entry(side)
    for speed in SPEEDS:
        watch = Watch(side, speed, outputs, right[speed] if right else None, asked)
        with intercepted({"flow": flow}, watch.flow, method), intercepted({"hift": hift}, watch.hift, method):
            _speak(side, given, speed)
    return outputs


def _speak(side: Side, given: Given, speed: float) -> None:
    token, prompt = utterance(given)

    def noise(samples: int, start: int = 0) -> tuple[Any, Any]:
        rand_ini, sine_noise = source_noise(side.module.hift, given.tape, samples, "offline", f"/{speed}")
        return side.array(rand_ini), side.array(sine_noise)

    if side.name == "pytorch":
        from reference.streaming import Prompt, offline

        (flow, hift), voice = side.module, Prompt(*map(side.array, prompt))
        offline(flow, hift, side.array(token), voice, noise, speed=speed, n_timesteps=TIMESTEPS)
        return
    from mlx_cosyvoice import decoding
    from mlx_cosyvoice.prompt import Prompt as Voice

    decoder = decoding.OfflineDecoder(*side.module, n_timesteps=TIMESTEPS, speed=speed)
    for _ in decoding.decode(decoder, Voice(*map(side.array, prompt)), noise, token[0].tolist()):
        pass  # what it puts out is what the vocoder made


@dataclass
class Watch:
    """Notes what the networks are called with at one speed, and what they make; with `right`, answers for them.

    `asked` is what the flow was called with at other speeds, and what it made of that: mostly the same at all.
    """

    side: Side
    speed: float
    outputs: Outputs
    right: Made | None
    asked: list[tuple[tuple[np.ndarray, ...], np.ndarray]]
    mel: np.ndarray = field(init=False)
    f0: np.ndarray | None = None

    def flow(self, call: ModuleCall) -> Any:
        passed = tuple(map(self.side.numpy, call.args))
        for name, array in zip(ARRAYS, passed, strict=True):
            self._note(name, array)
        flags = np.array([[call.kwargs.get(name, -1) for name in FLAGS]], np.int64)
        self.outputs.tokens[f"flags_{self.speed}"] = flags
        self.mel = self._mel(call, (*passed, flags)) if self.right is None else self.right.mel
        return self.side.array(self.mel, channels_first=True)

    def _mel(self, call: ModuleCall, passed: tuple[np.ndarray, ...]) -> np.ndarray:
        for known, mel in self.asked:
            if all(map(np.array_equal, known, passed)):
                return mel
        mel = self.side.numpy(call.run(), channels_first=True)
        self.asked.append((passed, mel))
        return mel

    def hift(self, call: ModuleCall) -> Any:
        mel = self.side.numpy(call.args[0], channels_first=True)
        fitting = mel.shape[2] * samples_per_frame(self.side.module.hift) == call.kwargs["sine_noise"].shape[1]
        self._note("mel", mel)
        self._note("noise", np.array([[fitting]], np.int64))
        if self.right is None:
            with intercepted({"f0": self.side.module.hift.f0_predictor}, self._noted):
                made = call.run()
            wav = self.side.numpy(made[0])
        else:
            wav = self.right.wav
            made = self.side.array(wav), None
        self._note("wav", wav)
        self.outputs.details[self.speed] = Made(self.mel, wav, self.f0)
        return made

    def _noted(self, call: ModuleCall) -> Any:
        made = call.run()
        self.f0 = self.side.numpy(made)
        return made

    def _note(self, name: str, array: np.ndarray) -> None:
        kind = self.outputs.tensors if np.issubdtype(array.dtype, np.floating) else self.outputs.tokens
        kind[f"{name}_{self.speed}"] = array
