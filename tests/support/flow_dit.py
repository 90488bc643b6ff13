"""CosyVoice3's flow stage on either side, and its usual mistakes; the inputs are those of `tests.support.flow`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.config import DiTCFMConfig, DiTConfig, DiTFlowConfig, PreLookaheadConfig
from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT, dit_block
from mlx_cosyvoice.nn import load_official
from reference import dit, flow, flow_dit
from tests.support.golden import as_torch, recipe_state_dict

CONFIGS = {
    "tiny": DiTFlowConfig(
        pre_lookahead_layer=PreLookaheadConfig(channels=128),
        decoder=DiTCFMConfig(estimator=DiTConfig(dim=64, depth=2, heads=2, dim_head=32)),
    ),
    "full": DiTFlowConfig(),
}


#: The prefixes, in tokens, of the golden `mel/stream_chunks`.
STREAM_ENDS = {"tiny": (13, 38, 63, 88, 113), "full": (38, 113)}

#: Side -> the module that turns queries and keys, and how its arrays are made and joined.
ROTATION: dict[str, tuple[Any, Callable[..., Any], Callable[..., Any]]] = {
    "pytorch": (dit, torch.from_numpy, torch.cat),
    "mlx": (dit_block, mx.array, mx.concatenate),
}


@cache
def reference_flow(size: str = "tiny", dtype: torch.dtype = torch.float32) -> flow_dit.CausalMaskedDiffWithDiT:
    """The PyTorch stage with the recipe's weights."""
    made = flow_dit.build(dataclasses.asdict(CONFIGS[size]))
    made.load_state_dict(as_torch(recipe_state_dict(f"flow3.{size}")), strict=True)
    return made.to(dtype)


def official(size: str) -> dict[str, Any]:
    """What a converter hands over: the official state dict, and the fixed noise, which is in no checkpoint."""
    return {**recipe_state_dict(f"flow3.{size}"), "decoder.rand_noise": flow.fixed_noise(80).numpy()}


@cache
def whole(size: str = "tiny", dtype: mx.Dtype = mx.float32) -> CausalMaskedDiffWithDiT:
    """The MLX stage with the recipe's weights, and the tensors that every model holds in float32."""
    made = load_official(CausalMaskedDiffWithDiT(CONFIGS[size]), official(size))
    if dtype != mx.float32:
        rotary = made.decoder.estimator.rotary_embed
        frequencies = rotary.inv_freq
        made.set_dtype(dtype)
        rotary.inv_freq = frequencies
    return made


@cache
def incremental(size: str = "tiny", **options: Any) -> IncrementalFlow:
    return IncrementalFlow(whole(size), **options)


def rope_on_every_head(side: str) -> Any:
    """A context in which every head is turned."""
    module, _, join = ROTATION[side]
    right = module.apply_rotary_pos_emb

    def every_head(x: Any, turns: Any) -> Any:
        width = turns.shape[2]
        return join([right(x[..., start : start + width], turns) for start in range(0, x.shape[2], width)], -1)

    return mock.patch.object(module, "apply_rotary_pos_emb", every_head)


def rope_pairs_halves(side: str) -> Any:
    """A context in which channel i is turned with channel i + half."""
    module, array, _ = ROTATION[side]
    right = module.apply_rotary_pos_emb

    def halves(x: Any, turns: Any) -> Any:
        width = turns.shape[2]
        order = np.concatenate([np.arange(width).reshape(2, -1).T.ravel(), np.arange(width, x.shape[2])])
        return right(x[..., array(order)], turns)[..., array(np.argsort(order))]

    return mock.patch.object(module, "apply_rotary_pos_emb", halves)
