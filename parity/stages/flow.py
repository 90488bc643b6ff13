"""Speech tokens to mel: the encoder, and the Euler steps of the conditional flow with injected noise."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import torch

from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape

CONDITIONS = ("mu", "spks", "cond")


def _channels_last(array: np.ndarray) -> mx.array:
    return mx.array(array.transpose(0, 2, 1) if array.ndim == 3 else array)


def _channels_first(array: mx.array) -> np.ndarray:
    result = np.array(array.astype(mx.float32))
    return result.transpose(0, 2, 1) if result.ndim == 3 else result


class FlowEncoder(Stage):
    """In streaming mode the last tokens are held back as lookahead, and the encoder's attention is chunked."""

    name = "flow_encoder"
    title = "Flow encoder"
    component = "flow"
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    gives = CONDITIONS

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        inputs = (tensor(given[name], dtype) for name in self.needs)
        outputs = module.encode(*inputs, streaming=settings.streaming, finalize=not settings.streaming)
        return Outputs(tensors={k: v.to(torch.float64).numpy() for k, v in zip(CONDITIONS, outputs, strict=True)})

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        inputs = (mx.array(given[name]) for name in self.needs)
        outputs = module.encode(*inputs, streaming=settings.streaming, finalize=not settings.streaming)
        return Outputs(tensors={k: _channels_first(v) for k, v in zip(CONDITIONS, outputs, strict=True)})


class FlowDecoder(Stage):
    name = "flow_decoder"
    title = "Flow decoder"
    component = "flow"
    needs = CONDITIONS
    gives = ("mel",)

    def keep(self, path: str, call: int) -> bool:
        # every Euler step of the estimator itself and of its time, which is 0 at the first
        return call == 0 or path in ("flow.decoder.estimator", "flow.decoder.estimator.time_embeddings")

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        mu, spks, cond = (tensor(given[name], dtype) for name in CONDITIONS)
        # no noise is passed: each side starts from the official one that it carries
        mel = module.decoder(mu, spks, cond, n_timesteps=settings.n_timesteps, streaming=settings.streaming)
        return self._outputs(mel.to(torch.float64).numpy(), given)

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        mu, spks, cond = (_channels_last(given[name]) for name in CONDITIONS)
        mel = module.decoder(mu, spks, cond, n_timesteps=settings.n_timesteps, streaming=settings.streaming)
        return self._outputs(_channels_first(mel), given)

    @staticmethod
    def _outputs(mel: np.ndarray, given: Arrays) -> Outputs:
        return Outputs(tensors={"mel": mel[:, :, given["prompt_feat"].shape[1] :]})
