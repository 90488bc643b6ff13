"""Mistakes in what is carried from chunk to chunk: by the networks of the flow, and by the loop around them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.incremental import IncrementalDecoder, IncrementalVocoder, prefill
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec, cfm
from mlx_cosyvoice.vocoder import source
from parity.faults import shared
from parity.faults.base import Mistakes, at
from parity.faults.caches import CHUNK, Keys, each, extending, fetching, joined, last, of_one_entry, one_late

ESTIMATOR = "flow.decoder.estimator"
ATTENTION, OUTER = at(f"{ESTIMATOR}.mid_blocks.0.1.0.attn1"), at(f"{ESTIMATOR}.up_blocks.0.1.0.attn1")
LOOKAHEAD, UPSAMPLING = at("flow.encoder.pre_lookahead_layer"), at("flow.encoder.up_layer")
FLOW, HOP = at("flow"), at("incremental.hop")
VOCODER_WINDOW, SINES = at("incremental.vocoder_window"), at("hift.m_source.l_sin_gen").of(source.SineGen2._continued)


def _past_swapped(keys: Keys) -> Keys:
    k, v = joined(keys)
    past = max(k.shape[2] - CHUNK, 0)
    parts = (v[..., :past, :], k[..., past:, :]), (k[..., :past, :], v[..., past:, :])
    return [(mx.concatenate(list(parts[0]), axis=2), mx.concatenate(list(parts[1]), axis=2))]


def _positions(module: Any, x: mx.array, keys: int | None, other: int) -> tuple[mx.array, mx.array]:
    """What a module makes of the positions of `other` keys, in the shape of those of `keys`."""
    scaled, pos_emb = module(x, other)
    wanted = (keys or x.shape[1]) + x.shape[1] - 1
    pos_emb = mx.pad(pos_emb, [(0, 0), (0, max(wanted - pos_emb.shape[1], 0)), (0, 0)])
    return scaled, pos_emb[:, :wanted]


PIECES: Mistakes = {
    "inc-conv-forgets: A convolution of the estimator starts every chunk behind zeros.": extending(
        at(f"{ESTIMATOR}.mid_blocks.0.0.block1.block.0", kind="leaf"), mx.zeros_like
    ),
    "inc-conv-late: The frames kept for a convolution are one frame too old.": extending(
        at(f"{ESTIMATOR}.final_block.block.0", kind="leaf"), one_late
    ),
    "inc-conv-reversed: The frames kept for a convolution are put back in the reverse order.": extending(
        at(f"{ESTIMATOR}.down_blocks.0.2", kind="leaf"), lambda past: past[:, ::-1]
    ),
    "inc-conv-one-entry: The unconditioned entry's convolution goes on from the conditioned one's frames.": extending(
        at(f"{ESTIMATOR}.up_blocks.0.2", kind="leaf"), of_one_entry
    ),
    "inc-lookahead-forgets: The smoothing after the lookahead starts every chunk behind zeros.": extending(
        LOOKAHEAD, mx.zeros_like
    ),
    "inc-upsampling-forgets: The upsampling starts every chunk behind zeros.": extending(UPSAMPLING, mx.zeros_like),
    "inc-upsampling-late: The frames kept for the upsampling are one frame too old.": extending(UPSAMPLING, one_late),
    "inc-lookahead-lost: A chunk is computed without the tokens after it.": LOOKAHEAD.edits(
        "self.lookahead, context", "self.lookahead, None"
    ),
    "inc-lookahead-short: A chunk sees two tokens after it in place of three.": LOOKAHEAD.edits(
        "self.lookahead, context", "self.lookahead, None if context is None else context[:, :2]"
    ),
    "inc-keys-forgotten: An attention of the estimator sees its own chunk only.": fetching(
        ATTENTION, lambda keys: last(keys, CHUNK)
    ),
    "inc-keys-one-chunk-short: An attention of the estimator does not see the first chunk any more.": fetching(
        OUTER, lambda keys: last(keys, max(sum(k.shape[2] for k, _ in keys) - CHUNK, CHUNK))
    ),
    "inc-keys-swapped: Keys and values of past chunks are taken for each other.": fetching(ATTENTION, _past_swapped),
    "inc-keys-twice: The chunk's own keys are attended to twice.": fetching(
        OUTER, lambda keys: [*keys, *last(keys, 8)]
    ),
    "inc-keys-one-entry: The unconditioned entry attends to the conditioned one's past.": fetching(
        ATTENTION, each(of_one_entry)
    ),
    "inc-keys-half: Keys and values are kept in bfloat16, while the model computes in float32.": fetching(
        ATTENTION, each(lambda part: part.astype(mx.bfloat16))
    ),
    "inc-heads-mixed: The heads of past keys are in another order than those of the queries.": fetching(
        OUTER, lambda keys: [(k[:, ::-1], v) for k, v in keys]
    ),
    "inc-relative-order: The encoder's past keys are put behind the chunk's own.": fetching(
        at("flow.encoder.encoders.0.self_attn"), lambda keys: [tuple(mx.roll(part, 25, 2) for part in joined(keys))]
    ),
    "inc-positions-anew: The relative positions of a chunk do not count the past keys.": at(
        "flow.encoder.embed.pos_enc", kind="leaf"
    ).behaves(lambda self, x, keys=None: _positions(self, x, keys, x.shape[1])),
    "inc-positions-late: The relative positions of the upsampled chunks are one too high.": at(
        "flow.encoder.up_embed.pos_enc", kind="leaf"
    ).behaves(lambda self, x, keys=None: _positions(self, x, keys, (keys or x.shape[1]) + 1)),
    "inc-noise-anew: Every chunk starts from the first frames of the noise.": FLOW.wraps(
        cfm.CausalConditionalCFM, "starting_noise", shared.starting_noise_anew
    ),
    "inc-prompt-late: The prompt's mel conditions every chunk one frame late.": FLOW.wraps(
        CausalMaskedDiffWithXvec, "condition", shared.prompt_one_late
    ),
    "inc-steps-exchanged: An Euler step goes on from what another step has left.": at("flow.decoder").wraps(
        cfm, "part_of", shared.steps_exchanged
    ),
}

LEFT_CONTEXT: Mistakes = {
    "left-context-none: An attention of the estimator sees its own chunk only, not the one before.": fetching(
        ATTENTION, lambda keys: last(keys, CHUNK)
    ),
    "left-context-a-key-short: An attention of the estimator does not see the oldest key that it may see.": fetching(
        OUTER, lambda keys: last(keys, max(sum(k.shape[2] for k, _ in keys) - 1, CHUNK))
    ),
}

LOOP: Mistakes = {
    "inc-voice-of-another: A voice starts from the state of another one with the same prompt.": at(
        "incremental.voices"
    ).edits("prompt.arrays", "prompt.arrays[:2]", of=prefill._fingerprint),
    "inc-first-hop: The first hop does not count the prompt's tokens.": HOP.edits(
        *shared.HOP_WITHOUT_PROMPT, of=IncrementalDecoder.due
    ),
    "inc-vocoder-window: The vocoder sees four frames less to both sides.": at("incremental.held_back").edits(
        "receptive_frames(hift.config)", "receptive_frames(hift.config) - 4", of=IncrementalVocoder.__init__
    ),
    "inc-source-early: The excitation does not wait for all that f0 sees.": at("incremental.source_window").edits(
        "len(convolutions) + 1", "len(convolutions) - 2", of=IncrementalVocoder.__init__
    ),
    "inc-phase-anew: The phase of the sines starts anew with every hop.": SINES.edits(*shared.PHASE_ANEW),
    "inc-phase-early: The phase goes on from one frame too early.": SINES.edits(*shared.PHASE_EARLY),
    "inc-mel-late: The mel that the vocoder keeps is one frame too old.": VOCODER_WINDOW.edits(
        "[state.mel,", "[mx.roll(state.mel, 1, 1),", of=IncrementalVocoder.step
    ),
    "inc-source-late: The excitation that is kept is a frame too old.": VOCODER_WINDOW.edits(
        "[state.source,", "[mx.roll(state.source, 480, 1),", of=IncrementalVocoder._source
    ),
}
