"""Mistakes in what is carried from chunk to chunk: by the networks of the flow, and by the loop around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.incremental import IncrementalDecoder, IncrementalVocoder, prefill
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec, cfm
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder import source
from parity.faults import shared
from parity.faults.base import Catalogue
from parity.faults.caches import Keys, extending, fetching, joined, last
from parity.faults.shared import CHUNK

PIECES, LOOP = Catalogue("flow_pieces", "incremental"), Catalogue("incremental", "incremental")

ESTIMATOR = "flow.decoder.estimator"
ATTENTION = PIECES.at(f"{ESTIMATOR}.mid_blocks.0.1.0.attn1")
OUTER = PIECES.at(f"{ESTIMATOR}.up_blocks.0.1.0.attn1")
RELATIVE = PIECES.at("flow.encoder.encoders.0.self_attn")
LOOKAHEAD = PIECES.at("flow.encoder.pre_lookahead_layer")
UPSAMPLING = PIECES.at("flow.encoder.up_layer")
FLOW, DECODER = PIECES.at("flow"), PIECES.at("flow.decoder")
HOP = LOOP.at("incremental.hop")
VOCODER_WINDOW = LOOP.at("incremental.vocoder_window")
SINES = LOOP.at("hift.m_source.l_sin_gen")


def _one_late(past: mx.array) -> mx.array:
    return mx.concatenate([mx.zeros_like(past[:, :1]), past[:, :-1]], axis=1)


extending(
    PIECES.at(f"{ESTIMATOR}.mid_blocks.0.0.block1.block.0", kind="leaf"),
    "inc-conv-forgets",
    "A convolution of the estimator starts every chunk behind zeros.",
    mx.zeros_like,
)
extending(
    PIECES.at(f"{ESTIMATOR}.final_block.block.0", kind="leaf"),
    "inc-conv-late",
    "The frames kept for a convolution are one frame too old.",
    _one_late,
)
extending(
    PIECES.at(f"{ESTIMATOR}.down_blocks.0.2", kind="leaf"),
    "inc-conv-reversed",
    "The frames kept for a convolution are put back in the reverse order.",
    lambda past: past[:, ::-1],
)
extending(
    PIECES.at(f"{ESTIMATOR}.up_blocks.0.2", kind="leaf"),
    "inc-conv-one-entry",
    "The unconditioned entry's convolution goes on from the conditioned one's frames.",
    lambda past: mx.broadcast_to(past[:1], past.shape),
)
extending(
    LOOKAHEAD,
    "inc-lookahead-forgets",
    "The smoothing after the lookahead starts every chunk behind zeros.",
    mx.zeros_like,
)
extending(UPSAMPLING, "inc-upsampling-forgets", "The upsampling starts every chunk behind zeros.", mx.zeros_like)
extending(UPSAMPLING, "inc-upsampling-late", "The frames kept for the upsampling are one frame too old.", _one_late)


@LOOKAHEAD.behaving
def inc_lookahead_lost(self: Any, x: mx.array, context: Any, cache: Cache) -> mx.array:
    """A chunk is computed without the tokens after it."""
    return self(x, None, cache)


@LOOKAHEAD.behaving
def inc_lookahead_short(self: Any, x: mx.array, context: Any, cache: Cache) -> mx.array:
    """A chunk sees two tokens after it in place of three."""
    return self(x, None if context is None else context[:, :2], cache)


def _without_first_chunk(keys: Keys) -> Keys:
    return last(keys, max(sum(k.shape[2] for k, _ in keys) - CHUNK, CHUNK))


def _past_swapped(keys: Keys) -> Keys:
    k, v = joined(keys)
    past = max(k.shape[2] - CHUNK, 0)
    parts = (v[..., :past, :], k[..., past:, :]), (k[..., :past, :], v[..., past:, :])
    return [(mx.concatenate(list(parts[0]), axis=2), mx.concatenate(list(parts[1]), axis=2))]


def _past_last(keys: Keys) -> Keys:
    k, v = joined(keys)
    return [(mx.roll(k, 25, 2), mx.roll(v, 25, 2))]


fetching(
    ATTENTION,
    "inc-keys-forgotten",
    "An attention of the estimator sees its own chunk only.",
    lambda keys: last(keys, CHUNK),
)
fetching(
    OUTER,
    "inc-keys-one-chunk-short",
    "An attention of the estimator does not see the first chunk any more.",
    _without_first_chunk,
)
fetching(ATTENTION, "inc-keys-swapped", "Keys and values of past chunks are taken for each other.", _past_swapped)
fetching(OUTER, "inc-keys-twice", "The chunk's own keys are attended to twice.", lambda keys: [*keys, *last(keys, 8)])
fetching(
    ATTENTION,
    "inc-keys-one-entry",
    "The unconditioned entry attends to the conditioned one's past.",
    lambda keys: [tuple(mx.broadcast_to(part[:1], part.shape) for part in pair) for pair in keys],
)
fetching(
    ATTENTION,
    "inc-keys-half",
    "Keys and values are kept in bfloat16, while the model computes in float32.",
    lambda keys: [tuple(part.astype(mx.bfloat16) for part in pair) for pair in keys],
)
fetching(
    OUTER,
    "inc-heads-mixed",
    "The heads of past keys are in another order than those of the queries.",
    lambda keys: [(k[:, ::-1], v) for k, v in keys],
)
fetching(RELATIVE, "inc-relative-order", "The encoder's past keys are put behind the chunk's own.", _past_last)


def _positions(module: Any, x: mx.array, keys: int | None, other: int) -> tuple[mx.array, mx.array]:
    """What a module makes of the positions of `other` keys, in the shape of those of `keys`."""
    scaled, pos_emb = module(x, other)
    wanted = (keys or x.shape[1]) + x.shape[1] - 1
    pos_emb = mx.pad(pos_emb, [(0, 0), (0, max(wanted - pos_emb.shape[1], 0)), (0, 0)])
    return scaled, pos_emb[:, :wanted]


@PIECES.at("flow.encoder.embed.pos_enc", kind="leaf").behaving
def inc_positions_anew(self: Any, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
    """The relative positions of a chunk do not count the past keys."""
    return _positions(self, x, keys, x.shape[1])


@PIECES.at("flow.encoder.up_embed.pos_enc", kind="leaf").behaving
def inc_positions_late(self: Any, x: mx.array, keys: int | None = None) -> tuple[mx.array, mx.array]:
    """The relative positions of the upsampled chunks are one too high."""
    return _positions(self, x, keys, (keys or x.shape[1]) + 1)


FLOW.wraps(
    "inc-noise-anew",
    "Every chunk starts from the first frames of the noise.",
    cfm.CausalConditionalCFM,
    "starting_noise",
    shared.starting_noise_anew,
)
FLOW.wraps(
    "inc-prompt-late",
    "The prompt's mel conditions every chunk one frame late.",
    CausalMaskedDiffWithXvec,
    "condition",
    shared.prompt_one_late,
)
DECODER.wraps(
    "inc-steps-exchanged",
    "An Euler step goes on from what another step has left.",
    cfm,
    "part_of",
    shared.steps_exchanged,
)


@LOOP.at("incremental.voices").wrapping(prefill, "_fingerprint")
def inc_voice_of_another(original: Any, prompt: Any) -> Any:
    """A voice starts from the state of another one with the same prompt."""
    return original(type(prompt)(prompt.prompt_token, prompt.prompt_feat, mx.zeros((1, 192))))


@HOP.wrapping(IncrementalDecoder, "due")
def inc_first_hop(original: Any, self: Any, state: Any) -> int:
    """The first hop does not count the prompt's tokens."""
    begun = len(state.flow.tokens) > state.flow.prompt.tokens
    return original(self, state) if begun else self.first + self.flow.lookahead + 5


def _wait_less(vocoder: Any, what: str, frames: int) -> None:
    setattr(vocoder, what, getattr(vocoder, what) - frames)
    vocoder.delay -= frames


@LOOP.at("incremental.held_back").wrapping(IncrementalVocoder, "__init__")
def inc_vocoder_window(original: Any, self: Any, hift: Any) -> None:
    """The vocoder sees four frames less to both sides."""
    original(self, hift)
    _wait_less(self, "reach", 4)


@LOOP.at("incremental.source_window").wrapping(IncrementalVocoder, "__init__")
def inc_source_early(original: Any, self: Any, hift: Any) -> None:
    """The excitation does not wait for all that f0 sees."""
    original(self, hift)
    _wait_less(self, "source_delay", 3)


@SINES.wrapping(source.SineGen2, "_continued")
def inc_phase_anew(original: Any, sums: mx.array, count: int, cache: Cache) -> mx.array:
    """The phase of the sines starts anew with every hop."""
    return sums


@SINES.wrapping(source.SineGen2, "_continued")
def inc_phase_early(original: Any, sums: mx.array, count: int, cache: Cache) -> mx.array:
    """The phase goes on from one frame too early."""
    return original(sums, count - 1, cache)


@VOCODER_WINDOW.wrapping(IncrementalVocoder, "step")
def inc_mel_late(original: Any, self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
    """The mel that the vocoder keeps is one frame too old."""
    return original(self, replace(state, mel=mx.roll(state.mel, 1, 1)), *args, **kwargs)


@VOCODER_WINDOW.wrapping(IncrementalVocoder, "step")
def inc_source_late(original: Any, self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
    """The excitation that is kept is a frame too old."""
    return original(self, replace(state, source=mx.roll(state.source, 480, 1)), *args, **kwargs)
