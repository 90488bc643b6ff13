"""Mistakes in the flow's decoder: the Euler solver, its guidance, and the estimator."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.flow import attention as flow_attention
from mlx_cosyvoice.flow import cfm, embedding, estimator
from mlx_cosyvoice.flow.masks import chunk_mask
from parity.faults.base import Catalogue, behaving, calling, modules_at, patched, setting
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("flow_decoder")
fault = CATALOGUE.add

ESTIMATOR = "flow.decoder.estimator"
RESNETS = tuple(f"{ESTIMATOR}.{level}.*.0" for level in ("down_blocks", "mid_blocks", "up_blocks"))
BLOCKS = (*(f"{resnet}.{block}" for resnet in RESNETS for block in ("block1", "block2")), f"{ESTIMATOR}.final_block")
TRANSFORMERS = tuple(f"{ESTIMATOR}.{level}.*.1.*" for level in ("down_blocks", "mid_blocks", "up_blocks"))
CAUSAL_CONVS = (*(f"{block}.block.0" for block in BLOCKS), f"{ESTIMATOR}.down_blocks.0.2", f"{ESTIMATOR}.up_blocks.0.2")


@fault(
    "decoder-mask",
    "The chunk mask of streaming is dropped, so every frame attends to all frames.",
    ESTIMATOR,
    streaming="official",
)
def decoder_mask(pair: Pair) -> Context:
    return patched(cfm, "chunk_mask", lambda length, chunk_size: None)


@fault(
    "decoder-mask-finite",
    "The mask is added as a small finite number (-10) where the official one removes a place altogether.",
    ESTIMATOR,
    streaming="official",
)
def decoder_mask_finite(pair: Pair) -> Context:
    def additive(length: int, chunk_size: int) -> mx.array | None:
        mask = chunk_mask(length, chunk_size)
        return None if mask is None else mx.where(mask, 0.0, -10.0)

    return patched(cfm, "chunk_mask", additive)


@fault(
    "decoder-mask-inverted",
    "The mask says where attention is forbidden (PyTorch's key_padding_mask) to code that wants where it is allowed.",
    ESTIMATOR,
    streaming="official",
)
def decoder_mask_inverted(pair: Pair) -> Context:
    def inverted(length: int, chunk_size: int) -> mx.array | None:
        mask = chunk_mask(length, chunk_size)
        return None if mask is None else ~mask

    return patched(cfm, "chunk_mask", inverted)


@fault(
    "decoder-mask-causal",
    "A triangular mask stands in for the block-causal one, so frames do not see the rest of their own chunk.",
    ESTIMATOR,
    streaming="official",
)
def decoder_mask_causal(pair: Pair) -> Context:
    return patched(cfm, "chunk_mask", lambda length, chunk_size: mx.tri(length, dtype=mx.float32) > 0)


@fault(
    "decoder-chunk-size",
    "The decoder's mask counts 25 to a chunk, which is the number of tokens, not of frames.",
    ESTIMATOR,
    streaming="official",
)
def decoder_chunk_size(pair: Pair) -> Context:
    return setting(modules_at(pair, ESTIMATOR), static_chunk_size=lambda size: size // 2)


@fault("cfg-rate", "The guidance is left out: only the conditioned velocity is followed.", "flow.decoder")
def cfg_rate(pair: Pair) -> Context:
    return setting(modules_at(pair, "flow.decoder"), inference_cfg_rate=0.0)


@fault("cfg-sign", "The guidance has the wrong sign: (1 - r) v + r v0 in place of (1 + r) v - r v0.", "flow.decoder")
def cfg_sign(pair: Pair) -> Context:
    return setting(modules_at(pair, "flow.decoder"), inference_cfg_rate=lambda rate: -rate)


@fault("cfg-order", "The unconditioned half of the guidance batch comes first.", "flow.decoder")
def cfg_order(pair: Pair) -> Context:
    return patched(cfm, "with_unconditioned", lambda array: mx.concatenate([mx.zeros_like(array), array]))


@fault("cfg-not-zeroed", "The unconditioned half keeps its conditions in place of zeros.", "flow.decoder")
def cfg_not_zeroed(pair: Pair) -> Context:
    return patched(cfm, "with_unconditioned", lambda array: mx.concatenate([array, array]))


@fault("fresh-noise", "New noise is drawn where the official code starts from a fixed one.", "flow.decoder")
def fresh_noise(pair: Pair) -> Context:
    def drawn(self: Any, frames: int, noise: mx.array | None) -> mx.array:
        return mx.random.normal((1, frames, self.rand_noise.shape[2]), key=mx.random.key(1))

    return patched(cfm.CausalConditionalCFM, "starting_noise", drawn)


def _steps(times: np.ndarray) -> list[tuple[float, float]]:
    return [(float(t), float(end - t)) for t, end in pairwise(times)]


@fault("linear-time", "The solver takes equal steps in time where the official ones follow a cosine.", "flow.decoder")
def linear_time(pair: Pair) -> Context:
    return patched(cfm, "euler_schedule", lambda count: _steps(np.linspace(0, 1, count + 1)))


@fault("dt-of-next-step", "Each Euler step is taken with the length of the step after it.", "flow.decoder")
def dt_of_next_step(pair: Pair) -> Context:
    def shifted(count: int) -> list[tuple[float, float]]:
        times, lengths = zip(*original(count), strict=True)
        return list(zip(times, (*lengths[1:], lengths[-1]), strict=True))

    original = cfm.euler_schedule
    return patched(cfm, "euler_schedule", shifted)


@fault("time-of-step-end", "The velocity is asked for at the end of a step, not at its start.", "flow.decoder")
def time_of_step_end(pair: Pair) -> Context:
    original = cfm.euler_schedule
    return patched(cfm, "euler_schedule", lambda count: [(t + dt, dt) for t, dt in original(count)])


@fault(
    "time-embedding-scale",
    "The time embedding lacks its factor 1000.",
    f"{ESTIMATOR}.time_embeddings",
    kind="leaf",
)
def time_embedding_scale(pair: Pair) -> Context:
    def unscaled(self: Any, t: mx.array) -> mx.array:
        return embedding.SinusoidalPosEmb.__call__(self, t / 1000)

    return behaving(modules_at(pair, f"{ESTIMATOR}.time_embeddings"), unscaled)


@fault(
    "time-embedding-order",
    "The time embedding holds cosines first and sines second.",
    f"{ESTIMATOR}.time_embeddings",
    kind="leaf",
)
def time_embedding_order(pair: Pair) -> Context:
    def swapped(self: Any, t: mx.array) -> mx.array:
        sine, cosine = mx.split(embedding.SinusoidalPosEmb.__call__(self, t), 2, axis=-1)
        return mx.concatenate([cosine, sine], axis=-1)

    return behaving(modules_at(pair, f"{ESTIMATOR}.time_embeddings"), swapped)


@fault(
    "time-embedding-rate",
    "The frequencies of the time embedding are spaced by 1 / half in place of 1 / (half - 1).",
    f"{ESTIMATOR}.time_embeddings",
    kind="leaf",
)
def time_embedding_rate(pair: Pair) -> Context:
    def spaced(self: Any, t: mx.array) -> mx.array:
        half = self.width // 2
        angle = 1000 * t[:, None] * mx.exp(mx.arange(half) * (-np.log(10000) / half))
        return mx.concatenate([mx.sin(angle), mx.cos(angle)], axis=-1)

    return behaving(modules_at(pair, f"{ESTIMATOR}.time_embeddings"), spaced)


@fault("causal-padding", "The causal convolutions are padded on the right.", *CAUSAL_CONVS, kind="leaf")
def causal_padding(pair: Pair) -> Context:
    return setting(modules_at(pair, *CAUSAL_CONVS), pad=(0, 2))


@fault(
    "centered-padding",
    "One convolution is padded on both sides, as an ordinary Conv1d is.",
    f"{ESTIMATOR}.up_blocks.0.2",
    kind="leaf",
)
def centered_padding(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{ESTIMATOR}.up_blocks.0.2"), pad=(1, 1))


@fault(
    "conv-kernel-reversed",
    "A convolution's kernel is reversed in time.",
    f"{ESTIMATOR}.down_blocks.0.2",
    kind="weights",
)
def conv_kernel_reversed(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{ESTIMATOR}.down_blocks.0.2"), weight=lambda weight: weight[:, ::-1])


@fault(
    "conv-not-transposed",
    "The weight of a convolution with as many channels in as out is stored with the two exchanged.",
    f"{ESTIMATOR}.mid_blocks.0.0.block2.block.0",
    kind="weights",
)
def conv_not_transposed(pair: Pair) -> Context:
    modules = modules_at(pair, f"{ESTIMATOR}.mid_blocks.0.0.block2.block.0")
    return setting(modules, weight=lambda weight: weight.swapaxes(0, 2))


@fault(
    "linear-not-transposed",
    "The weight of a square projection is transposed.",
    f"{ESTIMATOR}.time_mlp.linear_2",
    kind="weights",
)
def linear_not_transposed(pair: Pair) -> Context:
    return setting(modules_at(pair, f"{ESTIMATOR}.time_mlp.linear_2"), weight=lambda weight: weight.T)


@fault(
    "estimator-norm-epsilon",
    "The estimator's LayerNorms have the encoder's epsilon.",
    *(f"{transformer}.norm1" for transformer in TRANSFORMERS),
    kind="leaf",
)
def estimator_norm_epsilon(pair: Pair) -> Context:
    return setting(modules_at(pair, *(f"{transformer}.norm1" for transformer in TRANSFORMERS)), eps=1e-12)


@fault(
    "gelu-tanh",
    "GELU is the tanh approximation in place of the exact one.",
    *(f"{transformer}.ff.net.0" for transformer in TRANSFORMERS),
)
def gelu_tanh(pair: Pair) -> Context:
    return calling(estimator, "functional", gelu=nn.gelu_approx)


@fault(
    "silu-for-mish",
    "SiLU stands where the official blocks have Mish.",
    *(f"{block}.block.4" for block in BLOCKS),
    *(f"{resnet}.mlp.0" for resnet in RESNETS),
    kind="leaf",
)
def silu_for_mish(pair: Pair) -> Context:
    modules = modules_at(pair, *(f"{b}.block.4" for b in BLOCKS), *(f"{r}.mlp.0" for r in RESNETS))
    return behaving(modules, lambda self, x: nn.silu(x))


@fault("mish-for-silu", "Mish stands where the time embedding has SiLU.", f"{ESTIMATOR}.time_mlp.act", kind="leaf")
def mish_for_silu(pair: Pair) -> Context:
    return behaving(modules_at(pair, f"{ESTIMATOR}.time_mlp.act"), lambda self, x: nn.mish(x))


@fault("skip-order", "The skip connection is put before the signal, not after it.", ESTIMATOR)
def skip_order(pair: Pair) -> Context:
    def concatenate(arrays: list[mx.array], axis: int = 0) -> mx.array:
        return mx.concatenate(arrays[::-1] if len(arrays) == 2 else arrays, axis=axis)

    return calling(estimator, "mx", concatenate=concatenate)


@fault("condition-order", "Speaker and prompt mel change places in the estimator's input.", ESTIMATOR)
def condition_order(pair: Pair) -> Context:
    def concatenate(arrays: list[mx.array], axis: int = 0) -> mx.array:
        return mx.concatenate([*arrays[:2], *arrays[:1:-1]] if len(arrays) == 4 else arrays, axis=axis)

    return calling(estimator, "mx", concatenate=concatenate)


@fault("time-not-added", "The time embedding is added after the second convolution, not before it.", *RESNETS)
def time_not_added(pair: Pair) -> Context:
    def late(self: Any, x: mx.array, time: mx.array, cache: Any = None) -> mx.array:
        return self.block2(self.block1(x, cache), cache) + self.mlp(time)[:, None] + self.res_conv(x)

    return behaving(modules_at(pair, *RESNETS), late)


@fault(
    "attention-scale",
    "The attention divides by the root of the model's width, not of a head's.",
    *(f"{transformer}.attn1" for transformer in TRANSFORMERS),
)
def attention_scale(pair: Pair) -> Context:
    modules = modules_at(pair, *(f"{transformer}.attn1" for transformer in TRANSFORMERS))
    return setting(modules, scale=modules[0].to_q.weight.shape[1] ** -0.5)


@fault(
    "head-order",
    "Heads are split as [head_dim, heads] in place of [heads, head_dim].",
    *(f"{transformer}.attn1" for transformer in TRANSFORMERS),
)
def head_order(pair: Pair) -> Context:
    def interleaved(x: mx.array, heads: int) -> mx.array:
        return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)

    return patched(flow_attention, "split_heads", interleaved)
