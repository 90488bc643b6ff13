"""Mistakes in the flow's decoder: the Euler solver, its guidance, and the estimator."""

from __future__ import annotations

from mlx_cosyvoice.flow import attention, cfm, heads
from parity.faults.base import Mistakes, at
from parity.faults.shared import HEAD_ORDER, SCALE_OF_WIDTH, activation

DECODER, STREAMED = at("flow.decoder"), at("flow.decoder", streaming="official")
ESTIMATOR = "flow.decoder.estimator"
LEVELS = tuple(f"{ESTIMATOR}.{level}" for level in ("down_blocks", "mid_blocks", "up_blocks"))
IN_ESTIMATOR, TIME_EMBEDDING = at(ESTIMATOR), at(f"{ESTIMATOR}.time_embeddings", kind="leaf")
RESNETS = tuple(f"{level}.*.0" for level in LEVELS)
BLOCKS = (*(f"{resnet}.{block}" for resnet in RESNETS for block in ("block1", "block2")), f"{ESTIMATOR}.final_block")
TRANSFORMERS = tuple(f"{level}.*.1.*" for level in LEVELS)
ATTENTIONS = at(*(f"{transformer}.attn1" for transformer in TRANSFORMERS))
CAUSAL_CONVS = (*(f"{block}.block.0" for block in BLOCKS), f"{ESTIMATOR}.down_blocks.0.2", f"{ESTIMATOR}.up_blocks.0.2")
MISH = (*(f"{block}.block.4" for block in BLOCKS), *(f"{resnet}.mlp.0" for resnet in RESNETS))
GUIDED, SCHEDULE = DECODER.of(cfm.with_unconditioned), DECODER.of(cfm.euler_schedule)

MISTAKES: Mistakes = {
    "decoder-mask: The chunk mask of streaming is dropped, so every frame attends to all frames.": STREAMED.edits(
        "mask=mask", "mask=None"
    ),
    "decoder-mask-finite: The mask is added as a small finite number (-10) where the official one removes a place "
    "altogether.": STREAMED.edits("mask=mask", "mask=None if mask is None else mx.where(mask, 0.0, -10.0)"),
    "decoder-mask-inverted: The mask says where attention is forbidden (PyTorch's key_padding_mask) to code that wants "
    "where it is allowed.": STREAMED.edits("mask=mask", "mask=None if mask is None else ~mask"),
    "decoder-mask-causal: A triangular mask stands in for the block-causal one, so frames do not see the rest of their "
    "own chunk.": STREAMED.edits("mask=mask", "mask=mx.tri(frames, dtype=mx.float32) > 0"),
    "decoder-chunk-size: The decoder's mask counts 25 to a chunk, which is the number of tokens, not of frames.": (
        STREAMED.edits("chunk if streaming", "chunk // 2 if streaming")
    ),
    "cfg-rate: The guidance is left out: only the conditioned velocity is followed.": DECODER.sets(
        inference_cfg_rate=0.0
    ),
    "cfg-sign: The guidance has the wrong sign: (1 - r) v + r v0 in place of (1 + r) v - r v0.": DECODER.sets(
        inference_cfg_rate=lambda rate: -rate
    ),
    "cfg-order: The unconditioned half of the guidance batch comes first.": GUIDED.edits(
        "[array, mx.zeros_like(array)]", "[mx.zeros_like(array), array]"
    ),
    "cfg-not-zeroed: The unconditioned half keeps its conditions in place of zeros.": GUIDED.edits(
        "mx.zeros_like(array)", "array"
    ),
    "fresh-noise: New noise is drawn where the official code starts from a fixed one.": at(
        "flow", "flow.decoder"
    ).edits(
        "source[:, :frames].astype(mx.float32)",
        "mx.random.normal((1, frames, source.shape[2]), key=mx.random.key(1))",
        of=cfm.CausalConditionalCFM.starting_noise,
    ),
    "linear-time: The solver takes equal steps in time where the official ones follow a cosine.": SCHEDULE.edits(
        "1 - np.cos(angles.astype(np.float64)).astype(np.float32)", "angles / angles[-1]"
    ),
    "dt-of-next-step: Each Euler step is taken with the length of the step after it.": SCHEDULE.edits(
        "return schedule", "return [(t, dt) for (t, _), (_, dt) in zip(schedule, [*schedule[1:], schedule[-1]])]"
    ),
    "time-of-step-end: The velocity is asked for at the end of a step, not at its start.": SCHEDULE.edits(
        "(float(t), float(dt))", "(float(end), float(dt))"
    ),
    "time-embedding-scale: The time embedding lacks its factor 1000.": TIME_EMBEDDING.edits("1000 * t", "t"),
    "time-embedding-order: The time embedding holds cosines first and sines second.": TIME_EMBEDDING.edits(
        "[mx.sin(angle), mx.cos(angle)]", "[mx.cos(angle), mx.sin(angle)]"
    ),
    "time-embedding-rate: The frequencies of the time embedding are spaced by 1 / half in place of 1 / (half - 1).": (
        TIME_EMBEDDING.edits("(half - 1)", "half")
    ),
    "causal-padding: The causal convolutions are padded on the right.": at(*CAUSAL_CONVS, kind="leaf").sets(pad=(0, 2)),
    "centered-padding: One convolution is padded on both sides, as an ordinary Conv1d is.": at(
        f"{ESTIMATOR}.up_blocks.0.2", kind="leaf"
    ).sets(pad=(1, 1)),
    "conv-kernel-reversed: A convolution's kernel is reversed in time.": at(
        f"{ESTIMATOR}.down_blocks.0.2", kind="weights"
    ).sets(weight=lambda weight: weight[:, ::-1]),
    "conv-not-transposed: The weight of a convolution with as many channels in as out is stored with the two "
    "exchanged.": at(f"{ESTIMATOR}.mid_blocks.0.0.block2.block.0", kind="weights").sets(
        weight=lambda weight: weight.swapaxes(0, 2)
    ),
    "linear-not-transposed: The weight of a square projection is transposed.": at(
        f"{ESTIMATOR}.time_mlp.linear_2", kind="weights"
    ).sets(weight=lambda weight: weight.T),
    "estimator-norm-epsilon: The estimator's LayerNorms have the encoder's epsilon.": at(
        *(f"{transformer}.norm1" for transformer in TRANSFORMERS), kind="leaf"
    ).sets(eps=1e-12),
    "gelu-tanh: GELU is the tanh approximation in place of the exact one.": at(
        *(f"{transformer}.ff.net.0" for transformer in TRANSFORMERS)
    ).edits("functional.gelu(", "functional.gelu_tanh("),
    "silu-for-mish: SiLU stands where the official blocks have Mish.": at(*MISH, kind="leaf").edits(
        *activation("silu")
    ),
    "mish-for-silu: Mish stands where the time embedding has SiLU.": at(f"{ESTIMATOR}.time_mlp.act", kind="leaf").edits(
        *activation("mish")
    ),
    "skip-order: The skip connection is put before the signal, not after it.": IN_ESTIMATOR.edits(
        "[x, skip]", "[skip, x]"
    ),
    "condition-order: Speaker and prompt mel change places in the estimator's input.": IN_ESTIMATOR.edits(
        "[x, mu, spks, cond]", "[x, mu, cond, spks]"
    ),
    "time-not-added: The time embedding is added after the second convolution, not before it.": at(*RESNETS).edits(
        "h = self.block1(x, cache) + ", "h, late = self.block1(x, cache), ", "(h, cache)", "(h, cache) + late"
    ),
    "attention-scale: The attention divides by the root of the model's width, not of a head's.": ATTENTIONS.edits(
        *SCALE_OF_WIDTH, of=attention.Attention.out
    ),
    "head-order: Heads are split as [head_dim, heads] in place of [heads, head_dim].": ATTENTIONS.edits(
        *HEAD_ORDER, of=heads.split_heads
    ),
}
