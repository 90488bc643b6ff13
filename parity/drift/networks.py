"""The three networks whose drift is measured: how each is run in float32, and its groups of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_cosyvoice.families import Component
from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.flow.dit import DiT
from mlx_cosyvoice.flow.encoder import UpsampleConformerEncoder
from mlx_cosyvoice.flow.estimator import CausalConditionalDecoder
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.llm.lm import SpeechLM
from mlx_cosyvoice.llm.qwen2 import Qwen2Encoder, Qwen2ForCausalLM, Qwen2Model
from mlx_cosyvoice.vocoder.generator import Generator
from mlx_parity.sides import Side
from parity.stages import flow, vocoder
from parity.stages.base import Given
from parity.stages.llm import prompt

#: Modules that only line up others; what they line up are the groups.
BACKBONES = (
    SpeechLM,
    Qwen2Encoder,
    Qwen2ForCausalLM,
    Qwen2Model,
    CausalMaskedDiff,
    UpsampleConformerEncoder,
    CausalConditionalCFM,
    CausalConditionalDecoder,
    DiT,
    Generator,
)


def groups(component: Component, model: nn.Module) -> dict[str, nn.Module]:
    """Official path -> module: each transformer or residual block and single layer that can keep its own dtype.

    What is float32 in every model has no choice.
    """
    modules = dict(model.named_modules())

    def is_group(path: str) -> bool:
        names = path.split(".")
        owners = (modules.get(".".join(names[:end])) for end in range(len(names)))
        return all(owner is None or isinstance(owner, BACKBONES) for owner in owners)

    def has_choice(path: str, module: nn.Module) -> bool:
        parameters: list[tuple[str, Any]] = tree_flatten(module.parameters())  # type: ignore[assignment]
        return any(not component.always_float32(f"{path}.{name}") for name, _ in parameters)

    return {
        f"{component.name}.{path}": module
        for path, module in sorted(modules.items())
        if path and is_group(path) and not isinstance(module, BACKBONES) and has_choice(path, module)
    }


@dataclass(frozen=True)
class DriftStage:
    """One network.

    Attributes:
        name, title: of it; `component` has its weights.
        last: the last stage of a parity run that the reference has to do for it.
        output: what is measured, by its name among what the reference made.
        run: the output, float32, from what the reference made; computed when it is asked for if the side is lazy.
        differentiable: whether the output's derivative by every group's output can be had.
    """

    name: str
    title: str
    component: str
    last: str
    output: str
    run: Callable[[Side, Given], Any]
    differentiable: bool = True


def _log_probs(side: Side, given: Given) -> Any:
    """The walk along the reference's own tokens is run at once, not token by token: the same sums, 20 times faster."""
    module, x = side.module, prompt(side, given)
    walk = given["walk"][0].tolist()
    if len(walk) > 1:
        x = mx.concatenate([x, module.embed_speech(walk[:-1])], axis=1)
    hidden = module.llm(x, module.make_cache())
    logits = module.llm_decoder(hidden[:, -len(walk) :]).astype(mx.float32)
    return side.numpy(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def _wave(side: Side, given: Given) -> Any:
    """With the F0 and the source of its own, which sums phases as integers: that has no derivative."""
    mel = given["mel"]
    return vocoder.whole(side, {"mel": mel, **vocoder.draws(side.module, given.tape, mel.shape[2])})


DRIFT_STAGES = (
    DriftStage("llm", "Language model", "llm", "llm", "log_probs", _log_probs),
    DriftStage("flow", "Flow", "flow", "flow_decoder", "mel", flow.whole),
    DriftStage("vocoder", "Vocoder", "hift", "vocoder", "wav", _wave, differentiable=False),
)
