"""Mistakes in what CosyVoice3's networks carry from chunk to chunk, and the loop around them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.decoding.incremental import IncrementalDecoder
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT, cfm, dit, dit_block
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from mlx_cosyvoice.vocoder.source import SineGen2
from parity.faults import shared
from parity.faults.base import Context, Mistakes, at, patched
from parity.faults.caches import CHUNK, Keys, each, extending, fetching, joined, last, of_one_entry, one_late
from parity.pair import Pair

ESTIMATOR = "flow.decoder.estimator"
IN_ESTIMATOR, FLOW, LOOKAHEAD = at(ESTIMATOR), at("flow"), at("flow.pre_lookahead_layer")
POSITIONS = at(f"{ESTIMATOR}.input_embed.conv_pos_embed")
ATTENTION, LATER = (at(f"{ESTIMATOR}.transformer_blocks.{number}.attn") for number in (0, 1))
SOURCE = at("incremental.source_window").of(CausalVocoder.step)
SINES = at("hift.m_source.l_sin_gen").of(SineGen2._continued)


def _turned_again(keys: Keys) -> Keys:
    k, v = joined(keys)
    past = max(k.shape[2] - CHUNK, 0)
    if not past:
        return [(k, v)]
    rate = 10000 ** (-mx.arange(0, k.shape[3], 2) / k.shape[3])
    angle = mx.arange(past)[:, None] * rate
    turns = mx.stack([mx.cos(angle), mx.sin(angle)], axis=-1).reshape(1, past, -1)
    again = dit_block.apply_rotary_pos_emb(k[:, 0, :past], turns)[:, None]
    first = mx.concatenate([again, k[:, :1, past:]], axis=2)
    return [(mx.concatenate([first, k[:, 1:]], axis=1), v)]


def _time_of_first_step(pair: Pair) -> Context:
    made: list[mx.array] = []

    def constant(make: Any, cache: Cache | None) -> mx.array:
        made.append(make())
        return made[0] if cache is None else cache.constant(lambda: made[0])

    return patched(dit, "constant", constant)


PIECES: Mistakes = {
    "dit-positions-anew: Positions begin anew in every piece.": IN_ESTIMATOR.edits(
        "first_position(cache, x.shape[1])", "0 * first_position(cache, x.shape[1])"
    ),
    "dit-positions-of-chunk: All frames before a piece count as one chunk.": IN_ESTIMATOR.edits(
        "first_position(cache, x.shape[1])", f"min(first_position(cache, x.shape[1]), {CHUNK})"
    ),
    "dit-positions-forget: The convolutions of positions start every piece behind zeros.": extending(
        POSITIONS, mx.zeros_like
    ),
    "dit-positions-late: The frames kept for the convolutions of positions are one frame too old.": extending(
        POSITIONS, one_late
    ),
    "dit-positions-one-entry: The unconditioned entry's convolutions go on from the conditioned one's frames.": (
        extending(POSITIONS, of_one_entry)
    ),
    "dit-lookahead-forgets: The lookahead layer starts every piece behind zeros.": extending(LOOKAHEAD, mx.zeros_like),
    "dit-lookahead-lost: A piece is computed without the tokens after it.": LOOKAHEAD.edits(
        "self.lookahead, context", "self.lookahead, None"
    ),
    "dit-keys-forgotten: An attention sees its own piece only.": fetching(ATTENTION, lambda keys: last(keys, CHUNK)),
    "dit-keys-of-one-chunk: An attention sees one chunk before its own, as num_decoding_left_chunks would bound it.": (
        fetching(LATER, lambda keys: last(keys, 2 * CHUNK))
    ),
    "dit-keys-half: Keys and values are kept in bfloat16.": fetching(
        ATTENTION, each(lambda part: part.astype(mx.bfloat16).astype(part.dtype))
    ),
    "dit-keys-one-entry: The unconditioned entry attends to the conditioned one's past.": fetching(
        LATER, each(of_one_entry)
    ),
    "dit-keys-turned-again: Past keys are turned by their positions in every piece again.": fetching(
        ATTENTION, _turned_again
    ),
    "dit-noise-anew: Every piece starts from the first frames of the noise.": FLOW.wraps(
        cfm.CausalConditionalCFM, "starting_noise", shared.starting_noise_anew
    ),
    "dit-prompt-late: The prompt's mel conditions every piece one frame late.": FLOW.wraps(
        CausalMaskedDiffWithDiT, "condition", shared.prompt_one_late
    ),
    "dit-steps-exchanged: An Euler step goes on from what another step has left.": at("flow.decoder").wraps(
        cfm, "part_of", shared.steps_exchanged
    ),
    "dit-time-of-first-step: The time embedding is made once, in the first Euler step, and kept for all of them.": (
        IN_ESTIMATOR.by(_time_of_first_step)
    ),
}

LOOP: Mistakes = {
    "first-hop-without-prompt: The first hop does not count the prompt's tokens.": at("incremental.hop").edits(
        *shared.HOP_WITHOUT_PROMPT, of=IncrementalDecoder.due
    ),
    "noise-anew-in-every-hop: The noise begins anew with every hop.": SOURCE.edits(", begin * scale)", ", 0)"),
    "noise-behind-the-wave: The noise goes on where the waveform has got to, which is eight frames behind.": (
        SOURCE.edits(", begin * scale)", ", max(begin - 5, 0) * scale)")
    ),
    "f0-without-frames-ahead: The frames after a piece that f0 looks at are taken for zeros.": at(
        "hift.f0_predictor"
    ).edits("first(mel, context)", "first(mel, None)"),
    "causal-phase-anew: The phase of the sines starts anew with every hop.": SINES.edits(*shared.PHASE_ANEW),
    "causal-phase-early: The phase goes on from one frame too early, as where it is interpolated.": SINES.edits(
        *shared.PHASE_EARLY
    ),
    "conv-post-forgets: The last convolution of the vocoder starts every hop behind zeros.": extending(
        at("hift.conv_post", kind="leaf"), mx.zeros_like
    ),
    "resblock-forgets: A dilated convolution of the vocoder starts every hop behind zeros.": extending(
        at("hift.resblocks.4.convs1.2", kind="leaf"), mx.zeros_like
    ),
    "ups-late: The frames kept for an upsampling are one frame too old.": extending(at("hift.ups.1"), one_late),
    "f0-layer-forgets: A layer of the f0 predictor starts every hop behind zeros.": extending(
        at("hift.f0_predictor.condnet.4", kind="leaf"), mx.zeros_like
    ),
    "overlap-lost: What the spectra of the hop before add to the first samples is lost.": at("hift").edits(
        "[before, spectra]", "[mx.zeros_like(before), spectra]", of=CausalHiFTGenerator._samples
    ),
}
