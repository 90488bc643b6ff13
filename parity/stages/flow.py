"""Speech tokens to mel: the encoder, and the Euler steps of the conditional flow with injected noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx_parity.intercept import intercepted
from mlx_parity.sides import Side
from parity.sides import entry
from parity.stages.base import Arrays, Given, Outputs, Stage

CONDITIONS = ("mu", "spks", "cond")

ESTIMATOR = "flow.decoder.estimator"
#: At so many Euler steps the estimator is run by itself: the first, whose time is 0, and another one. What is wrong at
#: later ones alone shows in the free run.
ENTERED = 2


class FlowEncoder(Stage):
    """In streaming mode the last tokens are held back as lookahead, and the encoder's attention is chunked."""

    name = "flow_encoder"
    title = "Flow encoder"
    component = "flow"
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    gives = CONDITIONS
    modes = (None, "official")

    def call(self, side: Side, given: Given) -> Outputs:
        arrays = (side.array(given[name]) for name in self.needs)
        streaming = bool(given.settings.streaming)
        made = side.module.encode(*arrays, streaming=streaming, finalize=not streaming)
        official = (side.numpy(array, channels_first=True) for array in made)
        return Outputs(dict(zip(CONDITIONS, official, strict=True)))


class FlowDecoder(Stage):
    """The flow's own call, in which its encoder's part is answered with the reference's `CONDITIONS`."""

    name = "flow_decoder"
    title = "Flow decoder"
    component = "flow"
    needs = (*CONDITIONS, "prompt_feat")
    gives = ("mel",)
    modes = (None, "official")

    def keep(self, path: str, call: int) -> bool:
        # every Euler step of the estimator itself
        return call == 0 or path == ESTIMATOR or (path.startswith(f"{ESTIMATOR}.time_embed") and call < ENTERED)

    def entered(self, path: str, call: int) -> bool:
        return path != ESTIMATOR or call < ENTERED

    def call(self, side: Side, given: Given) -> Outputs:
        streaming = bool(given.settings.streaming)
        right = tuple(side.array(given[name], channels_first=True) for name in CONDITIONS)
        with intercepted({"flow": side.module}, lambda call: right, "encode"):
            # no noise is passed: each side starts from the official one that it carries
            mel = getattr(side.module, entry(side))(
                *_lengths(side, given, streaming),
                streaming=streaming,
                finalize=not streaming,
                n_timesteps=given.settings.n_timesteps,
            )
        return Outputs({"mel": side.numpy(mel, channels_first=True)})


def _lengths(side: Side, inputs: Arrays, streaming: bool) -> tuple[Any, ...]:
    """What `encode` reads, as long as mu says; nothing but the lengths is used where `encode` is answered."""
    feat, ratio = inputs["prompt_feat"], side.module.token_mel_ratio
    held_back = side.module.pre_lookahead_len if streaming else 0
    prompt = feat.shape[1] // ratio
    counts = (inputs["mu"].shape[2] // ratio - prompt + held_back, prompt)
    return (*(side.array(np.zeros((1, count), np.int64)) for count in counts), side.array(feat), None)


def whole(side: Side, given: Given) -> np.ndarray:
    """The mel of the new tokens: encoder and decoder in a row, from what the encoder reads."""
    encoded = FlowEncoder().call(side, given).tensors
    return FlowDecoder().call(side, given.adding(encoded)).tensors["mel"]
