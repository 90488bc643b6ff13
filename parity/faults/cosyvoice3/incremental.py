"""Mistakes in what CosyVoice3's networks carry from chunk to chunk, and the loop around them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.incremental import IncrementalDecoder
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT, cfm, dit, dit_block
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from mlx_cosyvoice.vocoder.source import SineGen2
from parity.faults import shared
from parity.faults.base import Catalogue, Context, patched
from parity.faults.caches import Keys, extending, fetching, joined, last
from parity.faults.shared import CHUNK, noise_beginning
from parity.pair import Pair

PIECES, LOOP = Catalogue("flow_pieces", "incremental"), Catalogue("incremental", "incremental")

ESTIMATOR = "flow.decoder.estimator"
IN_ESTIMATOR, FLOW, DECODER = PIECES.at(ESTIMATOR), PIECES.at("flow"), PIECES.at("flow.decoder")
POSITIONS = PIECES.at(f"{ESTIMATOR}.input_embed.conv_pos_embed")
ATTENTION, LATER = (PIECES.at(f"{ESTIMATOR}.transformer_blocks.{number}.attn") for number in (0, 1))
LOOKAHEAD = PIECES.at("flow.pre_lookahead_layer")
SOURCE, SINES, HIFT = (LOOP.at(path) for path in ("incremental.source_window", "hift.m_source.l_sin_gen", "hift"))


@IN_ESTIMATOR.wrapping(dit, "first_position")
def dit_positions_anew(original: Any, cache: Cache | None, length: int) -> int:
    """Positions begin anew in every piece."""
    original(cache, length)
    return 0


@IN_ESTIMATOR.wrapping(dit, "first_position")
def dit_positions_of_chunk(original: Any, cache: Cache | None, length: int) -> int:
    """All frames before a piece count as one chunk."""
    return min(original(cache, length), CHUNK)


extending(
    POSITIONS, "dit-positions-forget", "The convolutions of positions start every piece behind zeros.", mx.zeros_like
)
extending(
    POSITIONS,
    "dit-positions-late",
    "The frames kept for the convolutions of positions are one frame too old.",
    lambda past: mx.concatenate([mx.zeros_like(past[:, :1]), past[:, :-1]], axis=1),
)
extending(
    POSITIONS,
    "dit-positions-one-entry",
    "The unconditioned entry's convolutions go on from the conditioned one's frames.",
    lambda past: mx.broadcast_to(past[:1], past.shape),
)
extending(LOOKAHEAD, "dit-lookahead-forgets", "The lookahead layer starts every piece behind zeros.", mx.zeros_like)


@LOOKAHEAD.behaving
def dit_lookahead_lost(self: Any, x: mx.array, context: Any, cache: Cache) -> mx.array:
    """A piece is computed without the tokens after it."""
    return self(x, None, cache)


fetching(ATTENTION, "dit-keys-forgotten", "An attention sees its own piece only.", lambda keys: last(keys, CHUNK))
fetching(
    LATER,
    "dit-keys-of-one-chunk",
    "An attention sees one chunk before its own, as num_decoding_left_chunks would bound it.",
    lambda keys: last(keys, 2 * CHUNK),
)
fetching(
    ATTENTION,
    "dit-keys-half",
    "Keys and values are kept in bfloat16.",
    lambda keys: [tuple(part.astype(mx.bfloat16).astype(part.dtype) for part in pair) for pair in keys],
)
fetching(
    LATER,
    "dit-keys-one-entry",
    "The unconditioned entry attends to the conditioned one's past.",
    lambda keys: [tuple(mx.broadcast_to(part[:1], part.shape) for part in pair) for pair in keys],
)


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


fetching(
    ATTENTION, "dit-keys-turned-again", "Past keys are turned by their positions in every piece again.", _turned_again
)


FLOW.wraps(
    "dit-noise-anew",
    "Every piece starts from the first frames of the noise.",
    cfm.CausalConditionalCFM,
    "starting_noise",
    shared.starting_noise_anew,
)
FLOW.wraps(
    "dit-prompt-late",
    "The prompt's mel conditions every piece one frame late.",
    CausalMaskedDiffWithDiT,
    "condition",
    shared.prompt_one_late,
)
DECODER.wraps(
    "dit-steps-exchanged",
    "An Euler step goes on from what another step has left.",
    cfm,
    "part_of",
    shared.steps_exchanged,
)


@IN_ESTIMATOR.switching
def dit_time_of_first_step(pair: Pair) -> Context:
    """The time embedding is made once, in the first Euler step, and kept for all of them."""
    made: list[mx.array] = []

    def constant(make: Any, cache: Cache | None) -> mx.array:
        made.append(make())
        return made[0] if cache is None else cache.constant(lambda: made[0])

    return patched(dit, "constant", constant)


# the loop


@LOOP.at("incremental.hop").wrapping(IncrementalDecoder, "due")
def first_hop_without_prompt(original: Any, self: Any, state: Any) -> int:
    """The first hop does not count the prompt's tokens."""
    begun = len(state.flow.tokens) > state.flow.prompt.tokens
    return original(self, state) if begun else self.first + self.flow.lookahead + 5


noise_beginning(SOURCE, "noise-anew-in-every-hop", "The noise begins anew with every hop.", lambda begin, samples: 0)
noise_beginning(
    SOURCE,
    "noise-behind-the-wave",
    "The noise goes on where the waveform has got to, which is eight frames behind.",
    lambda begin, samples: max(begin - 5 * 480, 0),
)


@LOOP.at("hift.f0_predictor").behaving
def f0_without_frames_ahead(self: Any, mel: mx.array, context: Any = None, cache: Cache | None = None) -> mx.array:
    """The frames after a piece that f0 looks at are taken for zeros."""
    return self(mel, None, cache)


@SINES.wrapping(SineGen2, "_continued")
def causal_phase_anew(original: Any, sums: mx.array, count: int, cache: Cache) -> mx.array:
    """The phase of the sines starts anew with every hop."""
    return sums


@SINES.wrapping(SineGen2, "_continued")
def causal_phase_early(original: Any, sums: mx.array, count: int, cache: Cache) -> mx.array:
    """The phase goes on from one frame too early, as where it is interpolated."""
    return original(sums, count - 1, cache)


extending(
    LOOP.at("hift.conv_post", kind="leaf"),
    "conv-post-forgets",
    "The last convolution of the vocoder starts every hop behind zeros.",
    mx.zeros_like,
)
extending(
    LOOP.at("hift.resblocks.4.convs1.2", kind="leaf"),
    "resblock-forgets",
    "A dilated convolution of the vocoder starts every hop behind zeros.",
    mx.zeros_like,
)
extending(
    LOOP.at("hift.ups.1"),
    "ups-late",
    "The frames kept for an upsampling are one frame too old.",
    lambda past: mx.concatenate([mx.zeros_like(past[:, :1]), past[:, :-1]], axis=1),
)
extending(
    LOOP.at("hift.f0_predictor.condnet.4", kind="leaf"),
    "f0-layer-forgets",
    "A layer of the f0 predictor starts every hop behind zeros.",
    mx.zeros_like,
)


@HIFT.wrapping(CausalHiFTGenerator, "_samples")
def overlap_lost(original: Any, self: Any, spectra: mx.array, finalize: bool, cache: Any = None) -> mx.array:
    """What the spectra of the hop before add to the first samples is lost."""
    if cache is not None and cache.past is not None:
        recalled = cache.recalled
        cache.recalled = lambda: None if (kept := recalled()) is None else mx.zeros_like(kept)
        try:
            return original(self, spectra, finalize, cache)
        finally:
            del cache.recalled
    return original(self, spectra, finalize, cache)
