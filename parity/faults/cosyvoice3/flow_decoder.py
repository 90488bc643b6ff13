"""Mistakes in CosyVoice3's estimator, the DiT, and in how the solver runs it."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.flow import cfm, dit, dit_block
from mlx_cosyvoice.nn.cache import Cache
from parity.faults import shared
from parity.faults.base import Catalogue, Context, behaving, modules_at, patched, setting
from parity.pair import Pair

CATALOGUE = Catalogue("flow_decoder")
at = CATALOGUE.at

ESTIMATOR = "flow.decoder.estimator"
BLOCK = f"{ESTIMATOR}.transformer_blocks.*"
DECODER, STREAMED, IN_ESTIMATOR = at("flow.decoder"), at("flow.decoder", streaming="official"), at(ESTIMATOR)
ATTENTION, NORM, BLOCKS = at(f"{BLOCK}.attn"), at(f"{BLOCK}.attn_norm"), at(BLOCK)
NORM_OUT, INPUT = at(f"{ESTIMATOR}.norm_out"), at(f"{ESTIMATOR}.input_embed")
POSITIONS = at(f"{ESTIMATOR}.input_embed.conv_pos_embed")
ROTARY = at(f"{ESTIMATOR}.rotary_embed", kind="leaf")
TIME = at(f"{ESTIMATOR}.time_embed.time_embed", kind="leaf")


# rotary positions


@ATTENTION.wrapping(dit_block, "apply_rotary_pos_emb")
def every_head_turned(original: Any, x: mx.array, turns: mx.array) -> mx.array:
    """Every head is turned by its position, where the official code turns the first one."""
    width = turns.shape[2]
    return mx.concatenate([original(x[..., at : at + width], turns) for at in range(0, x.shape[2], width)], axis=-1)


@ATTENTION.wrapping(dit_block, "apply_rotary_pos_emb")
def halves_turned(original: Any, x: mx.array, turns: mx.array) -> mx.array:
    """Channel i is turned with channel i + half, as Qwen2 does, in place of with its neighbor."""
    width = turns.shape[2]
    order = np.concatenate([np.arange(width).reshape(2, -1).T.ravel(), np.arange(width, x.shape[2])])
    return original(x[..., mx.array(order)], turns)[..., mx.array(np.argsort(order))]


@ATTENTION.wrapping(dit_block, "apply_rotary_pos_emb")
def last_head_turned(original: Any, x: mx.array, turns: mx.array) -> mx.array:
    """The last head is turned in place of the first."""
    start = x.shape[2] - turns.shape[2]
    return mx.concatenate([x[..., :start], original(x[..., start:], turns)], axis=-1)


@ATTENTION.switching
def queries_turned_alone(pair: Pair) -> Context:
    """Queries are turned, and keys are not."""
    original, calls = dit_block.apply_rotary_pos_emb, list[int]()

    def every_other(x: mx.array, turns: mx.array) -> mx.array:
        calls.append(1)
        return original(x, turns) if len(calls) % 2 else x

    return patched(dit_block, "apply_rotary_pos_emb", every_other)


@ROTARY.behaving
def turned_backwards(self: Any, position: mx.array) -> mx.array:
    """Positions turn the other way round."""
    return self(-position)


@ROTARY.behaving
def sines_first(self: Any, position: mx.array) -> mx.array:
    """Sine and cosine of a turn are exchanged."""
    made = self(position)
    return mx.stack([made[..., 1::2], made[..., ::2]], axis=-1).reshape(made.shape)


at(f"{ESTIMATOR}.rotary_embed", kind="weights").setting(
    "rotary-base-of-qwen",
    "Positions turn with Qwen2's base of 1e6.",
    inv_freq=lambda own: mx.array((1e6 ** (-np.arange(len(own)) / len(own))).astype(np.float32)),
)


# norms whose scale and shift the time gives


def _split(name: str, mistake: str, order: tuple[int, ...]) -> None:
    """A fault in which what the time gives is split into other parts: `order` says which one stands at each place."""
    count = len(order)

    def split(x: mx.array, parts: int, axis: int) -> Any:
        made = mx.split(x, parts, axis=axis)
        return [made[place] for place in order] if parts == count else made

    (NORM if count == 6 else NORM_OUT).calling(name, mistake, dit_block, "mx", split=split)


_split("six-scale-first", "Of the six, scale comes before shift in the attention's three.", (1, 0, 2, 3, 4, 5))
_split("six-scale-first-in-both", "Of the six, scale comes before shift in both threes.", (1, 0, 2, 4, 3, 5))
_split("six-gates-exchanged", "The gates of attention and feed-forward are exchanged.", (0, 1, 5, 3, 4, 2))
_split("six-halves-exchanged", "The feed-forward's three come before the attention's.", (3, 4, 5, 0, 1, 2))
_split("six-by-kind", "The six are two shifts, two scales, two gates.", (0, 2, 4, 1, 3, 5))
_split("six-gate-first", "Of each three, the gate comes first.", (1, 2, 0, 4, 5, 3))
_split("two-shift-first", "Of the two of the last norm, the shift comes first, as in the blocks.", (1, 0))


def _interleaved(x: mx.array, parts: int, axis: int) -> Any:
    return [x[..., place::parts] for place in range(parts)] if parts == 6 else mx.split(x, parts, axis=axis)


NORM.calling("six-interleaved", "The six take turns channel by channel.", dit_block, "mx", split=_interleaved)


@NORM.behaving
def six_scale_not_from_one(self: Any, x: mx.array, time: mx.array, cache: Cache | None = None) -> Any:
    """The norm before attention is multiplied by the scale, not by one more than it."""
    normed, *rest = self(x, time, cache)
    return normed - self.norm(x), *rest


@BLOCKS.behaving
def ff_scale_not_from_one(self: Any, x: mx.array, time: mx.array, mask: Any, turns: mx.array, cache: Any = None) -> Any:
    """The norm before the feed-forward is multiplied by the scale, not by one more than it."""
    normed, gate, shift, scale, ff_gate = self.attn_norm(x, time, cache)
    x = x + gate * self.attn(normed, mask, turns, cache)
    return x + ff_gate * self.ff(self.ff_norm(x) * scale + shift)


@NORM_OUT.behaving
def two_scale_not_from_one(self: Any, x: mx.array, time: mx.array, cache: Cache | None = None) -> mx.array:
    """The last norm is multiplied by the scale, not by one more than it."""
    return self(x, time, cache) - self.norm(x)


@BLOCKS.behaving
def ungated(self: Any, x: mx.array, time: mx.array, mask: Any, turns: mx.array, cache: Any = None) -> mx.array:
    """What the attention makes is added whole: its gate is forgotten."""
    normed, _, shift, scale, ff_gate = self.attn_norm(x, time, cache)
    x = x + self.attn(normed, mask, turns, cache)
    return x + ff_gate * self.ff(self.ff_norm(x) * (1 + scale) + shift)


@BLOCKS.behaving
def ff_beside_attention(self: Any, x: mx.array, time: mx.array, mask: Any, turns: mx.array, cache: Any = None) -> Any:
    """Attention and feed-forward read the same, side by side."""
    normed, gate, shift, scale, ff_gate = self.attn_norm(x, time, cache)
    attended = gate * self.attn(normed, mask, turns, cache)
    return x + attended + ff_gate * self.ff(self.ff_norm(x) * (1 + scale) + shift)


@at(f"{BLOCK}.attn_norm.silu", f"{ESTIMATOR}.norm_out.silu", kind="leaf").behaving
def time_without_silu(self: Any, x: mx.array) -> mx.array:
    """The time is projected as it is, without SiLU before it."""
    return x


at(f"{BLOCK}.attn_norm.norm", f"{BLOCK}.ff_norm", f"{ESTIMATOR}.norm_out.norm", kind="leaf").setting(
    "dit-norm-epsilon", "The norms have the usual epsilon of 1e-5 in place of 1e-6.", eps=1e-5
)


@at(f"{BLOCK}.ff.ff.0.1", kind="leaf").behaving
def gelu_exact(self: Any, x: mx.array) -> mx.array:
    """GELU is the exact one, where the feed-forward has the tanh approximation."""
    return nn.gelu(x)


# attention


@ATTENTION.switching
def dit_attention_scale(pair: Pair) -> Context:
    """The attention divides by the root of the model's width, not of a head's."""
    modules = ATTENTION.modules(pair)
    return setting(modules, scale=modules[0].to_q.weight.shape[1] ** -0.5)


@ATTENTION.wrapping(dit_block, "split_heads")
def dit_head_order(original: Any, x: mx.array, heads: int) -> mx.array:
    """Heads are split as [head_dim, heads] in place of [heads, head_dim]."""
    return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)


# input


@INPUT.behaving
def positions_without_residual(self: Any, x: mx.array, *others: Any) -> mx.array:
    """The convolutions of positions stand alone: their input is not added."""
    right = self.conv_pos_embed
    try:
        self.conv_pos_embed = lambda x, cache: right(x, cache) - x
        return self(x, *others)
    finally:
        self.conv_pos_embed = right


def _joined(name: str, mistake: str, order: tuple[int, ...]) -> None:
    """A fault in which the four inputs are joined in another order."""

    def concatenate(arrays: list[mx.array], axis: int = 0) -> mx.array:
        return mx.concatenate([arrays[place] for place in order], axis=axis)

    INPUT.calling(name, mistake, dit, "mx", concatenate=concatenate)


_joined("mu-before-prompt", "mu comes before the prompt's mel in the estimator's input.", (0, 2, 1, 3))
_joined("input-of-cosyvoice2", "Noise, mu, speaker and prompt: CosyVoice2's order of inputs.", (0, 2, 3, 1))
_joined("prompt-first", "The prompt's mel comes before the noisy mel.", (1, 0, 2, 3))


@POSITIONS.wrapping(dit, "extended")
def positions_centered(original: Any, x: mx.array, reach: int, cache: Any) -> mx.array:
    """The convolutions of positions are padded on both sides, as in F5-TTS, where the DiT is from."""
    return mx.pad(x, [(0, 0), (reach // 2, reach // 2), (0, 0)])


@at(*(f"{ESTIMATOR}.input_embed.conv_pos_embed.conv{number}.1" for number in (1, 2)), kind="leaf").behaving
def positions_silu(self: Any, x: mx.array) -> mx.array:
    """SiLU stands behind the convolutions of positions for Mish."""
    return nn.silu(x)


@at(f"{ESTIMATOR}.input_embed.conv_pos_embed.conv1.0", kind="leaf").behaving
def positions_groups_shuffled(self: Any, x: mx.array) -> mx.array:
    """The groups of a convolution take turns channel by channel."""
    return self(x.reshape(*x.shape[:2], -1, self.groups).swapaxes(2, 3).reshape(x.shape))


TIME.behaves("dit-time-scale", "The time is not multiplied by 1000.", shared.time_unscaled)
TIME.behaves("dit-time-cosines-first", "The time embedding holds cosines first and sines second.", shared.cosines_first)
TIME.behaves(
    "dit-time-rate",
    "The rates of the time embedding end at 1 / 10000 one step later, as if the last were left out.",
    shared.rates_by_half,
)


# the solver


DECODER.setting("cfg-rate-half", "The guidance has a rate of 0.5 in place of 0.7.", inference_cfg_rate=0.5)


@DECODER.switching
def unconditioned_speaker(pair: Pair) -> Context:
    """The unconditioned half of the guidance keeps the speaker."""
    original = cfm.with_unconditioned
    return patched(
        cfm, "with_unconditioned", lambda x: original(x) if x.ndim == 3 else mx.broadcast_to(x, (2, *x.shape[1:]))
    )


@DECODER.wrapping(cfm, "with_unconditioned")
def unconditioned_negated(original: Any, array: mx.array) -> mx.array:
    """The unconditioned half has the conditions' opposite in place of zeros."""
    return mx.concatenate([array, -array])


@at("flow", "flow.decoder").wrapping(cfm.CausalConditionalCFM, "starting_noise")
def noise_of_this_length(original: Any, self: Any, frames: int, noise: mx.array | None) -> mx.array:
    """The noise is laid out for this many frames, not cut from that of 300 s: only the first band begins alike."""
    official = self.rand_noise.swapaxes(1, 2).reshape(-1)[: frames * self.rand_noise.shape[2]]
    return official.reshape(1, -1, frames).swapaxes(1, 2)


@STREAMED.wrapping(cfm, "chunk_mask")
def dit_mask_missing(original: Any, length: int, chunk_size: int) -> None:
    """While speech is streamed, every frame attends to all frames, as in upstream's TensorRT engine."""


@STREAMED.wrapping(cfm, "chunk_mask")
def dit_mask_causal(original: Any, length: int, chunk_size: int) -> mx.array:
    """A triangular mask stands in for the block-causal one."""
    return mx.tri(length, dtype=mx.float32) > 0


@STREAMED.wrapping(cfm, "chunk_mask")
def dit_mask_of_own_chunk(original: Any, length: int, chunk_size: int) -> mx.array | None:
    """A frame sees its own chunk alone, and nothing before it."""
    mask = original(length, chunk_size)
    if mask is None:
        return None
    chunk = mx.arange(length) // chunk_size
    return mask & (chunk[None, :] == chunk[:, None])


@STREAMED.switching
def dit_chunk_of_tokens(pair: Pair) -> Context:
    """The mask counts 25 to a chunk, which is the number of tokens, not of frames."""
    return setting(modules_at(pair, ESTIMATOR), static_chunk_size=lambda size: size // 2)


@DECODER.wrapping(cfm, "chunk_mask")
def dit_mask_offline(original: Any, length: int, chunk_size: int) -> mx.array | None:
    """The chunk mask is there offline too."""
    return original(length, chunk_size or 50)


@IN_ESTIMATOR.wrapping(dit, "first_position")
def positions_backwards_from_end(original: Any, cache: Any, length: int) -> int:
    """Positions are counted so that the last frame has position 0."""
    return 1 - length


@ATTENTION.behaving
def queries_and_keys_normalized(self: Any, x: mx.array, mask: Any, turns: mx.array, cache: Any = None) -> mx.array:
    """Queries and keys are normalized (qk_norm of F5-TTS), which this DiT has not."""
    projections = self.to_q, self.to_k
    try:
        self.to_q, self.to_k = (_normed(projection) for projection in projections)
        return self(x, mask, turns, cache)
    finally:
        self.to_q, self.to_k = projections


def _normed(project: Any) -> Any:
    return lambda x: mx.fast.rms_norm(project(x), None, 1e-6)


@IN_ESTIMATOR.switching
def long_skip(pair: Pair) -> Context:
    """What goes into the first block is added to what comes out of the last (the DiT's long skip connection)."""
    (estimator,) = IN_ESTIMATOR.modules(pair)
    norm_out, first, entered = estimator.norm_out, estimator.transformer_blocks[0], list[mx.array]()

    def block(x: mx.array, *others: Any) -> mx.array:
        entered.append(x)
        return first(x, *others)

    def norm(x: mx.array, *others: Any) -> mx.array:
        return norm_out(x + entered.pop(), *others)

    def call(self: Any, *args: Any, **options: Any) -> mx.array:
        blocks = self.transformer_blocks
        try:
            self.transformer_blocks, self.norm_out = [block, *blocks[1:]], norm
            return self(*args, **options)
        finally:
            self.transformer_blocks, self.norm_out = blocks, norm_out

    return behaving([estimator], functools.wraps(type(estimator).__call__)(call))


DECODER.setting(
    "cfg-between",
    "The guidance goes from the unconditioned velocity towards the conditioned one, not beyond: v0 + r (v - v0).",
    inference_cfg_rate=lambda rate: rate - 1,
)
DECODER.calling(
    "time-in-half",
    "The time of a step is rounded to float16 on its way to the estimator.",
    cfm,
    "mx",
    full=lambda shape, t: mx.full(shape, t).astype(mx.float16).astype(mx.float32),
)
