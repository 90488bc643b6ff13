"""Mistakes in the flow's decoder: the Euler solver, its guidance, and the estimator."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.flow import attention as flow_attention
from mlx_cosyvoice.flow import cfm, estimator
from parity.faults import shared
from parity.faults.base import Catalogue, Context, modules_at, setting
from parity.pair import Pair

CATALOGUE = Catalogue("flow_decoder")
at = CATALOGUE.at

DECODER = at("flow.decoder")
ESTIMATOR = "flow.decoder.estimator"
IN_ESTIMATOR, STREAMED = at(ESTIMATOR), at("flow.decoder", streaming="official")
TIME_EMBEDDING = at(f"{ESTIMATOR}.time_embeddings", kind="leaf")
RESNETS = tuple(f"{ESTIMATOR}.{level}.*.0" for level in ("down_blocks", "mid_blocks", "up_blocks"))
BLOCKS = (*(f"{resnet}.{block}" for resnet in RESNETS for block in ("block1", "block2")), f"{ESTIMATOR}.final_block")
TRANSFORMERS = tuple(f"{ESTIMATOR}.{level}.*.1.*" for level in ("down_blocks", "mid_blocks", "up_blocks"))
ATTENTIONS = at(*(f"{transformer}.attn1" for transformer in TRANSFORMERS))
CAUSAL_CONVS = (*(f"{block}.block.0" for block in BLOCKS), f"{ESTIMATOR}.down_blocks.0.2", f"{ESTIMATOR}.up_blocks.0.2")
MISH = (*(f"{block}.block.4" for block in BLOCKS), *(f"{resnet}.mlp.0" for resnet in RESNETS))


@STREAMED.wrapping(cfm, "chunk_mask")
def decoder_mask(original: Any, length: int, chunk_size: int) -> None:
    """The chunk mask of streaming is dropped, so every frame attends to all frames."""


@STREAMED.wrapping(cfm, "chunk_mask")
def decoder_mask_finite(original: Any, length: int, chunk_size: int) -> mx.array | None:
    """The mask is added as a small finite number (-10) where the official one removes a place altogether."""
    mask = original(length, chunk_size)
    return None if mask is None else mx.where(mask, 0.0, -10.0)


@STREAMED.wrapping(cfm, "chunk_mask")
def decoder_mask_inverted(original: Any, length: int, chunk_size: int) -> mx.array | None:
    """The mask says where attention is forbidden (PyTorch's key_padding_mask) to code that wants where it is
    allowed."""
    mask = original(length, chunk_size)
    return None if mask is None else ~mask


@STREAMED.wrapping(cfm, "chunk_mask")
def decoder_mask_causal(original: Any, length: int, chunk_size: int) -> mx.array:
    """A triangular mask stands in for the block-causal one, so frames do not see the rest of their own chunk."""
    return mx.tri(length, dtype=mx.float32) > 0


@STREAMED.switching
def decoder_chunk_size(pair: Pair) -> Context:
    """The decoder's mask counts 25 to a chunk, which is the number of tokens, not of frames."""
    return setting(modules_at(pair, ESTIMATOR), static_chunk_size=lambda size: size // 2)


DECODER.setting(
    "cfg-rate", "The guidance is left out: only the conditioned velocity is followed.", inference_cfg_rate=0.0
)
DECODER.setting(
    "cfg-sign",
    "The guidance has the wrong sign: (1 - r) v + r v0 in place of (1 + r) v - r v0.",
    inference_cfg_rate=lambda rate: -rate,
)


@DECODER.wrapping(cfm, "with_unconditioned")
def cfg_order(original: Any, array: mx.array) -> mx.array:
    """The unconditioned half of the guidance batch comes first."""
    return mx.concatenate([mx.zeros_like(array), array])


@DECODER.wrapping(cfm, "with_unconditioned")
def cfg_not_zeroed(original: Any, array: mx.array) -> mx.array:
    """The unconditioned half keeps its conditions in place of zeros."""
    return mx.concatenate([array, array])


@CATALOGUE.at("flow", "flow.decoder").wrapping(cfm.CausalConditionalCFM, "starting_noise")
def fresh_noise(original: Any, self: Any, frames: int, noise: mx.array | None) -> mx.array:
    """New noise is drawn where the official code starts from a fixed one."""
    return mx.random.normal((1, frames, self.rand_noise.shape[2]), key=mx.random.key(1))


@DECODER.wrapping(cfm, "euler_schedule")
def linear_time(original: Any, count: int) -> list[tuple[float, float]]:
    """The solver takes equal steps in time where the official ones follow a cosine."""
    return [(float(t), float(end - t)) for t, end in pairwise(np.linspace(0, 1, count + 1))]


@DECODER.wrapping(cfm, "euler_schedule")
def dt_of_next_step(original: Any, count: int) -> list[tuple[float, float]]:
    """Each Euler step is taken with the length of the step after it."""
    times, lengths = zip(*original(count), strict=True)
    return list(zip(times, (*lengths[1:], lengths[-1]), strict=True))


@DECODER.wrapping(cfm, "euler_schedule")
def time_of_step_end(original: Any, count: int) -> list[tuple[float, float]]:
    """The velocity is asked for at the end of a step, not at its start."""
    return [(t + dt, dt) for t, dt in original(count)]


TIME_EMBEDDING.behaves("time-embedding-scale", "The time embedding lacks its factor 1000.", shared.time_unscaled)
TIME_EMBEDDING.behaves(
    "time-embedding-order", "The time embedding holds cosines first and sines second.", shared.cosines_first
)
TIME_EMBEDDING.behaves(
    "time-embedding-rate",
    "The frequencies of the time embedding are spaced by 1 / half in place of 1 / (half - 1).",
    shared.rates_by_half,
)
at(*CAUSAL_CONVS, kind="leaf").setting("causal-padding", "The causal convolutions are padded on the right.", pad=(0, 2))
at(f"{ESTIMATOR}.up_blocks.0.2", kind="leaf").setting(
    "centered-padding", "One convolution is padded on both sides, as an ordinary Conv1d is.", pad=(1, 1)
)
at(f"{ESTIMATOR}.down_blocks.0.2", kind="weights").setting(
    "conv-kernel-reversed", "A convolution's kernel is reversed in time.", weight=lambda weight: weight[:, ::-1]
)
at(f"{ESTIMATOR}.mid_blocks.0.0.block2.block.0", kind="weights").setting(
    "conv-not-transposed",
    "The weight of a convolution with as many channels in as out is stored with the two exchanged.",
    weight=lambda weight: weight.swapaxes(0, 2),
)
at(f"{ESTIMATOR}.time_mlp.linear_2", kind="weights").setting(
    "linear-not-transposed", "The weight of a square projection is transposed.", weight=lambda weight: weight.T
)
at(*(f"{transformer}.norm1" for transformer in TRANSFORMERS), kind="leaf").setting(
    "estimator-norm-epsilon", "The estimator's LayerNorms have the encoder's epsilon.", eps=1e-12
)
at(*(f"{transformer}.ff.net.0" for transformer in TRANSFORMERS)).calling(
    "gelu-tanh",
    "GELU is the tanh approximation in place of the exact one.",
    estimator,
    "functional",
    gelu=nn.gelu_approx,
)


@at(*MISH, kind="leaf").behaving
def silu_for_mish(self: Any, x: mx.array) -> mx.array:
    """SiLU stands where the official blocks have Mish."""
    return nn.silu(x)


@at(f"{ESTIMATOR}.time_mlp.act", kind="leaf").behaving
def mish_for_silu(self: Any, x: mx.array) -> mx.array:
    """Mish stands where the time embedding has SiLU."""
    return nn.mish(x)


def _skip_first(arrays: list[mx.array], axis: int = 0) -> mx.array:
    return mx.concatenate(arrays[::-1] if len(arrays) == 2 else arrays, axis=axis)


def _prompt_first(arrays: list[mx.array], axis: int = 0) -> mx.array:
    return mx.concatenate([*arrays[:2], *arrays[:1:-1]] if len(arrays) == 4 else arrays, axis=axis)


IN_ESTIMATOR.calling(
    "skip-order",
    "The skip connection is put before the signal, not after it.",
    estimator,
    "mx",
    concatenate=_skip_first,
)
IN_ESTIMATOR.calling(
    "condition-order",
    "Speaker and prompt mel change places in the estimator's input.",
    estimator,
    "mx",
    concatenate=_prompt_first,
)


@at(*RESNETS).behaving
def time_not_added(self: Any, x: mx.array, time: mx.array, cache: Any = None) -> mx.array:
    """The time embedding is added after the second convolution, not before it."""
    return self.block2(self.block1(x, cache), cache) + self.mlp(time)[:, None] + self.res_conv(x)


@ATTENTIONS.switching
def attention_scale(pair: Pair) -> Context:
    """The attention divides by the root of the model's width, not of a head's."""
    modules = ATTENTIONS.modules(pair)
    return setting(modules, scale=modules[0].to_q.weight.shape[1] ** -0.5)


@ATTENTIONS.wrapping(flow_attention, "split_heads")
def head_order(original: Any, x: mx.array, heads: int) -> mx.array:
    """Heads are split as [head_dim, heads] in place of [heads, head_dim]."""
    return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)
