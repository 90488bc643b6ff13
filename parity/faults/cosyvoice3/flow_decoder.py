"""Mistakes in CosyVoice3's estimator, the DiT, and in how the solver runs it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.flow import attention, cfm, dit_block, heads
from parity.faults.base import Mistakes, Planted, at
from parity.faults.shared import HEAD_ORDER, NO_ACTIVATION, SCALE_OF_WIDTH, activation

ESTIMATOR = "flow.decoder.estimator"
BLOCK = f"{ESTIMATOR}.transformer_blocks.*"
DECODER, STREAMED, IN_ESTIMATOR = at("flow.decoder"), at("flow.decoder", streaming="official"), at(ESTIMATOR)
ATTENTION, NORM, BLOCKS = at(f"{BLOCK}.attn"), at(f"{BLOCK}.attn_norm"), at(BLOCK)
NORM_OUT, INPUT = at(f"{ESTIMATOR}.norm_out"), at(f"{ESTIMATOR}.input_embed")
POSITIONS = f"{ESTIMATOR}.input_embed.conv_pos_embed"
ROTARY = at(f"{ESTIMATOR}.rotary_embed", kind="leaf")
TIME = at(f"{ESTIMATOR}.time_embed.time_embed", kind="leaf")
GUIDED = DECODER.of(cfm.with_unconditioned)


def _halves_turned(original: Any, x: mx.array, turns: mx.array) -> mx.array:
    width = turns.shape[2]
    order = np.concatenate([np.arange(width).reshape(2, -1).T.ravel(), np.arange(width, x.shape[2])])
    return original(x[..., mx.array(order)], turns)[..., mx.array(np.argsort(order))]


def _six(*order: int) -> Planted:
    """What the time gives is split into other parts: `order` says which one stands at each place."""
    return NORM.edits("mx.split(made, 6, axis=-1)", f"(mx.split(made, 6, axis=-1)[place] for place in {order})")


def _joined(names: str) -> Planted:
    """The four inputs are joined in another order."""
    return INPUT.edits("[x, cond, mu, spks]", f"[{names}]")


MISTAKES: Mistakes = {
    # rotary positions
    "every-head-turned: Every head is turned by its position, where the official code turns the first one.": (
        ATTENTION.wraps(
            dit_block,
            "apply_rotary_pos_emb",
            lambda original, x, turns: mx.concatenate(
                [original(head, turns) for head in mx.split(x, x.shape[2] // turns.shape[2], axis=2)], axis=2
            ),
        )
    ),
    "halves-turned: Channel i is turned with channel i + half, as Qwen2 does, in place of with its neighbor.": (
        ATTENTION.wraps(dit_block, "apply_rotary_pos_emb", _halves_turned)
    ),
    "last-head-turned: The last head is turned in place of the first.": ATTENTION.wraps(
        dit_block,
        "apply_rotary_pos_emb",
        lambda original, x, turns: mx.roll(original(mx.roll(x, turns.shape[2], 2), turns), -turns.shape[2], 2),
    ),
    "queries-turned-alone: Queries are turned, and keys are not.": ATTENTION.edits(
        "(apply_rotary_pos_emb(project(x), turns) for project in (self.to_q, self.to_k))",
        "apply_rotary_pos_emb(self.to_q(x), turns), self.to_k(x)",
    ),
    "turned-backwards: Positions turn the other way round.": ROTARY.edits("* self.inv_freq", "* -self.inv_freq"),
    "sines-first: Sine and cosine of a turn are exchanged.": ROTARY.edits(
        "[mx.cos(angle), mx.sin(angle)]", "[mx.sin(angle), mx.cos(angle)]"
    ),
    "rotary-base-of-qwen: Positions turn with Qwen2's base of 1e6.": at(
        f"{ESTIMATOR}.rotary_embed", kind="weights"
    ).sets(inv_freq=lambda own: mx.array((1e6 ** (-np.arange(len(own)) / len(own))).astype(np.float32))),
    # norms whose scale and shift the time gives
    "six-scale-first: Of the six, scale comes before shift in the attention's three.": _six(1, 0, 2, 3, 4, 5),
    "six-scale-first-in-both: Of the six, scale comes before shift in both threes.": _six(1, 0, 2, 4, 3, 5),
    "six-gates-exchanged: The gates of attention and feed-forward are exchanged.": _six(0, 1, 5, 3, 4, 2),
    "six-halves-exchanged: The feed-forward's three come before the attention's.": _six(3, 4, 5, 0, 1, 2),
    "six-by-kind: The six are two shifts, two scales, two gates.": _six(0, 2, 4, 1, 3, 5),
    "six-gate-first: Of each three, the gate comes first.": _six(1, 2, 0, 4, 5, 3),
    "two-shift-first: Of the two of the last norm, the shift comes first, as in the blocks.": NORM_OUT.edits(
        "scale, shift", "shift, scale"
    ),
    "six-interleaved: The six take turns channel by channel.": NORM.edits(
        "mx.split(made, 6, axis=-1)", "(made[..., place::6] for place in range(6))"
    ),
    "six-scale-not-from-one: The norm before attention is multiplied by the scale, not by one more than it.": (
        NORM.edits("(1 + scale)", "scale")
    ),
    "ff-scale-not-from-one: The norm before the feed-forward is multiplied by the scale, not by one more than it.": (
        BLOCKS.edits("(1 + ff_scale)", "ff_scale")
    ),
    "two-scale-not-from-one: The last norm is multiplied by the scale, not by one more than it.": NORM_OUT.edits(
        "(1 + scale)", "scale"
    ),
    "ungated: What the attention makes is added whole: its gate is forgotten.": BLOCKS.edits(
        "gate * self.attn(", "self.attn("
    ),
    "ff-beside-attention: Attention and feed-forward read the same, side by side.": BLOCKS.edits(
        "x = x + ", "before, x = x, x + ", "self.ff_norm(x)", "self.ff_norm(before)"
    ),
    "time-without-silu: The time is projected as it is, without SiLU before it.": at(
        f"{BLOCK}.attn_norm.silu", f"{ESTIMATOR}.norm_out.silu", kind="leaf"
    ).edits(*NO_ACTIVATION),
    "dit-norm-epsilon: The norms have the usual epsilon of 1e-5 in place of 1e-6.": at(
        f"{BLOCK}.attn_norm.norm", f"{BLOCK}.ff_norm", f"{ESTIMATOR}.norm_out.norm", kind="leaf"
    ).sets(eps=1e-5),
    "gelu-exact: GELU is the exact one, where the feed-forward has the tanh approximation.": at(
        f"{BLOCK}.ff.ff.0.1", kind="leaf"
    ).edits(*activation("gelu")),
    # attention
    "dit-attention-scale: The attention divides by the root of the model's width, not of a head's.": ATTENTION.edits(
        *SCALE_OF_WIDTH, of=attention.Attention.out
    ),
    "dit-head-order: Heads are split as [head_dim, heads] in place of [heads, head_dim].": ATTENTION.edits(
        *HEAD_ORDER, of=heads.split_heads
    ),
    # input
    "positions-without-residual: The convolutions of positions stand alone: their input is not added.": INPUT.edits(
        "(x, cache) + x", "(x, cache)"
    ),
    "mu-before-prompt: mu comes before the prompt's mel in the estimator's input.": _joined("x, mu, cond, spks"),
    "input-of-cosyvoice2: Noise, mu, speaker and prompt: CosyVoice2's order of inputs.": _joined("x, mu, spks, cond"),
    "prompt-first: The prompt's mel comes before the noisy mel.": _joined("cond, x, mu, spks"),
    "positions-centered: The convolutions of positions are padded on both sides, as in F5-TTS, where the DiT is "
    "from.": (at(POSITIONS).edits("extended(x, POSITION_KERNEL - 1, cache)", "mx.pad(x, [(0, 0), (15, 15), (0, 0)])")),
    "positions-silu: SiLU stands behind the convolutions of positions for Mish.": at(
        f"{POSITIONS}.conv1.1", f"{POSITIONS}.conv2.1", kind="leaf"
    ).edits(*activation("silu")),
    "positions-groups-shuffled: The groups of a convolution take turns channel by channel.": at(
        f"{POSITIONS}.conv1.0", kind="leaf"
    ).behaves(lambda self, x: self(x.reshape(*x.shape[:2], -1, self.groups).swapaxes(2, 3).reshape(x.shape))),
    "dit-time-scale: The time is not multiplied by 1000.": TIME.edits("1000 * t", "t"),
    "dit-time-cosines-first: The time embedding holds cosines first and sines second.": TIME.edits(
        "[mx.sin(angle), mx.cos(angle)]", "[mx.cos(angle), mx.sin(angle)]"
    ),
    "dit-time-rate: The rates of the time embedding end at 1 / 10000 one step later, as if the last were left out.": (
        TIME.edits("(half - 1)", "half")
    ),
    # the solver
    "cfg-rate-half: The guidance has a rate of 0.5 in place of 0.7.": DECODER.sets(inference_cfg_rate=0.5),
    "unconditioned-speaker: The unconditioned half of the guidance keeps the speaker.": GUIDED.edits(
        "mx.zeros_like(array)", "mx.zeros_like(array) if array.ndim == 3 else array"
    ),
    "unconditioned-negated: The unconditioned half has the conditions' opposite in place of zeros.": GUIDED.edits(
        "mx.zeros_like(array)", "-array"
    ),
    "noise-of-this-length: The noise is laid out for this many frames, not cut from that of 300 s: only the first band "
    "begins alike.": at("flow", "flow.decoder").edits(
        "source[:, :frames]",
        "self.rand_noise.swapaxes(1, 2).reshape(-1)[: 80 * frames].reshape(1, -1, frames).swapaxes(1, 2)",
        of=cfm.CausalConditionalCFM.starting_noise,
    ),
    "dit-mask-missing: While speech is streamed, every frame attends to all frames, as in upstream's TensorRT "
    "engine.": (STREAMED.edits("mask=mask", "mask=None")),
    "dit-mask-causal: A triangular mask stands in for the block-causal one.": STREAMED.edits(
        "mask=mask", "mask=mx.tri(frames, dtype=mx.float32) > 0"
    ),
    "dit-mask-of-own-chunk: A frame sees its own chunk alone, and nothing before it.": STREAMED.edits(
        "mask=mask",
        "mask=None if mask is None else mx.arange(frames)[None] // chunk == mx.arange(frames)[:, None] // chunk",
    ),
    "dit-chunk-of-tokens: The mask counts 25 to a chunk, which is the number of tokens, not of frames.": STREAMED.edits(
        "chunk if streaming", "chunk // 2 if streaming"
    ),
    "dit-mask-offline: The chunk mask is there offline too.": DECODER.edits(
        "chunk if streaming and cache is None else 0", "chunk"
    ),
    "positions-backwards-from-end: Positions are counted so that the last frame has position 0.": IN_ESTIMATOR.edits(
        "first_position(cache, x.shape[1])", "1 - x.shape[1]"
    ),
    "queries-and-keys-normalized: Queries and keys are normalized (qk_norm of F5-TTS), which this DiT has not.": (
        ATTENTION.edits("(project(x), turns)", "(mx.fast.rms_norm(project(x), None, 1e-6), turns)")
    ),
    "long-skip: What goes into the first block is added to what comes out of the last (the DiT's long skip "
    "connection).": IN_ESTIMATOR.edits(
        "for block in", "first = x\n    for block in", "self.norm_out(x,", "self.norm_out(x + first,"
    ),
    "cfg-between: The guidance goes from the unconditioned velocity towards the conditioned one, not beyond: "
    "v0 + r (v - v0).": DECODER.sets(inference_cfg_rate=lambda rate: rate - 1),
    "time-in-half: The time of a step is rounded to float16 on its way to the estimator.": DECODER.edits(
        "mx.full((2,), t)", "mx.full((2,), t).astype(mx.float16).astype(mx.float32)"
    ),
}
