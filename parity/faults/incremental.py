"""Mistakes in what is carried from chunk to chunk: by the networks of the flow, and by the loop around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.incremental import IncrementalDecoder, IncrementalVocoder, prefill
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec, cfm
from mlx_cosyvoice.nn.cache import Cache
from mlx_cosyvoice.vocoder import source
from parity.faults.base import Borrowed, Catalogue, behaving, modules_at, patched
from parity.pair import Pair
from parity.pieces import STEPS

Context = AbstractContextManager[Any]
Keys = Sequence[tuple[mx.array, mx.array]]

PIECES, LOOP = Catalogue("flow_pieces"), Catalogue("incremental")
fault = partial(PIECES.add, streaming="incremental")
loop_fault = partial(LOOP.add, streaming="incremental")

CHUNK = 50
ATTENTION = "flow.decoder.estimator.mid_blocks.0.1.0.attn1"
OUTER = "flow.decoder.estimator.up_blocks.0.1.0.attn1"
RELATIVE = "flow.encoder.encoders.0.self_attn"
LOOKAHEAD = "flow.encoder.pre_lookahead_layer"


@contextmanager
def with_cache(pair: Pair, path: str, change: Callable[[Cache], Any]) -> Iterator[None]:
    """Let a module use another cache than its caller's."""
    (module,) = modules_at(pair, path)
    cls = type(module)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(change(value) if isinstance(value, Cache) else value for value in args)
        return cls.__call__(self, *args, **kwargs)

    with behaving([module], call):
        yield


def fetching(pair: Pair, path: str, change: Callable[[Keys], Any]) -> Context:
    """Let an attention see other keys and values than the cache holds."""

    def cache(own: Cache) -> Any:
        return Borrowed(own, update_and_fetch=lambda *new: change(own.update_and_fetch(*new)))

    return with_cache(pair, path, cache)


def extending(pair: Pair, path: str, change: Callable[[mx.array, int], mx.array]) -> Context:
    """Let a convolution see other frames before its own; `change` gets all of them, and how many are past ones."""

    def cache(own: Cache) -> Any:
        return Borrowed(own, extend=lambda x, reach: change(own.extend(x, reach), reach))

    return with_cache(pair, path, cache)


def _silent(x: mx.array, reach: int) -> mx.array:
    return mx.concatenate([mx.zeros_like(x[:, :reach]), x[:, reach:]], axis=1)


def _one_late(x: mx.array, reach: int) -> mx.array:
    return mx.concatenate([mx.zeros_like(x[:, :1]), x[:, : reach - 1], x[:, reach:]], axis=1)


@fault(
    "inc-conv-forgets",
    "A convolution of the estimator starts every chunk behind zeros.",
    "flow.decoder.estimator.mid_blocks.0.0.block1.block.0",
    kind="leaf",
)
def inc_conv_forgets(pair: Pair) -> Context:
    return extending(pair, "flow.decoder.estimator.mid_blocks.0.0.block1.block.0", _silent)


@fault(
    "inc-conv-late",
    "The frames kept for a convolution are one frame too old.",
    "flow.decoder.estimator.final_block.block.0",
    kind="leaf",
)
def inc_conv_late(pair: Pair) -> Context:
    return extending(pair, "flow.decoder.estimator.final_block.block.0", _one_late)


@fault(
    "inc-conv-reversed",
    "The frames kept for a convolution are put back in the reverse order.",
    "flow.decoder.estimator.down_blocks.0.2",
    kind="leaf",
)
def inc_conv_reversed(pair: Pair) -> Context:
    def reverse(x: mx.array, reach: int) -> mx.array:
        return mx.concatenate([x[:, :reach][:, ::-1], x[:, reach:]], axis=1)

    return extending(pair, "flow.decoder.estimator.down_blocks.0.2", reverse)


@fault(
    "inc-conv-one-entry",
    "The unconditioned entry's convolution goes on from the conditioned one's frames.",
    "flow.decoder.estimator.up_blocks.0.2",
    kind="leaf",
)
def inc_conv_one_entry(pair: Pair) -> Context:
    def share(x: mx.array, reach: int) -> mx.array:
        past = mx.broadcast_to(x[:1, :reach], (2, reach, x.shape[2]))
        return mx.concatenate([past, x[:, reach:]], axis=1)

    return extending(pair, "flow.decoder.estimator.up_blocks.0.2", share)


@fault("inc-lookahead-forgets", "The smoothing after the lookahead starts every chunk behind zeros.", LOOKAHEAD)
def inc_lookahead_forgets(pair: Pair) -> Context:
    return extending(pair, LOOKAHEAD, _silent)


@fault("inc-upsampling-forgets", "The upsampling starts every chunk behind zeros.", "flow.encoder.up_layer")
def inc_upsampling_forgets(pair: Pair) -> Context:
    return extending(pair, "flow.encoder.up_layer", _silent)


@fault("inc-upsampling-late", "The frames kept for the upsampling are one frame too old.", "flow.encoder.up_layer")
def inc_upsampling_late(pair: Pair) -> Context:
    return extending(pair, "flow.encoder.up_layer", _one_late)


@fault("inc-lookahead-lost", "A chunk is computed without the tokens after it.", LOOKAHEAD)
def inc_lookahead_lost(pair: Pair) -> Context:
    return _context(pair, lambda context: None)


@fault("inc-lookahead-short", "A chunk sees two tokens after it in place of three.", LOOKAHEAD)
def inc_lookahead_short(pair: Pair) -> Context:
    return _context(pair, lambda context: None if context is None else context[:, :2])


def _context(pair: Pair, change: Callable[[Any], Any]) -> Context:
    (module,) = modules_at(pair, LOOKAHEAD)
    original = type(module).__call__

    def call(self: Any, x: mx.array, context: Any, cache: Cache) -> mx.array:
        return original(self, x, change(context), cache)

    return behaving([module], call)


@fault("inc-keys-forgotten", "An attention of the estimator sees its own chunk only.", ATTENTION)
def inc_keys_forgotten(pair: Pair) -> Context:
    return fetching(pair, ATTENTION, lambda keys: _last(keys, CHUNK))


@fault("inc-keys-one-chunk-short", "An attention of the estimator does not see the first chunk any more.", OUTER)
def inc_keys_one_chunk_short(pair: Pair) -> Context:
    return fetching(pair, OUTER, lambda keys: _last(keys, max(_length(keys) - CHUNK, CHUNK)))


@fault("inc-keys-swapped", "Keys and values of past chunks are taken for each other.", ATTENTION)
def inc_keys_swapped(pair: Pair) -> Context:
    def swap(keys: Keys) -> Keys:
        k, v = _joined(keys)
        past = max(k.shape[2] - CHUNK, 0)
        parts = (v[..., :past, :], k[..., past:, :]), (k[..., :past, :], v[..., past:, :])
        return [(mx.concatenate(list(parts[0]), axis=2), mx.concatenate(list(parts[1]), axis=2))]

    return fetching(pair, ATTENTION, swap)


@fault("inc-keys-twice", "The chunk's own keys are attended to twice.", OUTER)
def inc_keys_twice(pair: Pair) -> Context:
    return fetching(pair, OUTER, lambda keys: [*keys, *_last(keys, 8)])


@fault("inc-keys-one-entry", "The unconditioned entry attends to the conditioned one's past.", ATTENTION)
def inc_keys_one_entry(pair: Pair) -> Context:
    def share(keys: Keys) -> Keys:
        return [(mx.broadcast_to(k[:1], k.shape), mx.broadcast_to(v[:1], v.shape)) for k, v in keys]

    return fetching(pair, ATTENTION, share)


@fault("inc-keys-half", "Keys and values are kept in bfloat16, while the model computes in float32.", ATTENTION)
def inc_keys_half(pair: Pair) -> Context:
    return fetching(pair, ATTENTION, lambda keys: [tuple(part.astype(mx.bfloat16) for part in pair) for pair in keys])


@fault("inc-heads-mixed", "The heads of past keys are in another order than those of the queries.", OUTER)
def inc_heads_mixed(pair: Pair) -> Context:
    return fetching(pair, OUTER, lambda keys: [(k[:, ::-1], v) for k, v in keys])


@fault("inc-relative-order", "The encoder's past keys are put behind the chunk's own.", RELATIVE)
def inc_relative_order(pair: Pair) -> Context:
    def rolled(keys: Keys) -> Keys:
        k, v = _joined(keys)
        return [(mx.roll(k, 25, 2), mx.roll(v, 25, 2))]

    return fetching(pair, RELATIVE, rolled)


@fault(
    "inc-positions-anew",
    "The relative positions of a chunk do not count the past keys.",
    "flow.encoder.embed.pos_enc",
    kind="leaf",
)
def inc_positions_anew(pair: Pair) -> Context:
    return _positions(pair, "flow.encoder.embed.pos_enc", lambda keys, own: own)


@fault(
    "inc-positions-late",
    "The relative positions of the upsampled chunks are one too high.",
    "flow.encoder.up_embed.pos_enc",
    kind="leaf",
)
def inc_positions_late(pair: Pair) -> Context:
    return _positions(pair, "flow.encoder.up_embed.pos_enc", lambda keys, own: keys + 1)


def _positions(pair: Pair, path: str, change: Callable[[int, int], int]) -> Context:
    (module,) = modules_at(pair, path)
    original = type(module).__call__

    def call(self: Any, x: mx.array, keys: int | None = None) -> Any:
        scaled, pos_emb = original(self, x, change(keys or x.shape[1], x.shape[1]))
        wanted = (keys or x.shape[1]) + x.shape[1] - 1
        pos_emb = mx.pad(pos_emb, [(0, 0), (0, max(wanted - pos_emb.shape[1], 0)), (0, 0)])
        return scaled, pos_emb[:, :wanted]

    return behaving([module], call)


@fault("inc-noise-anew", "Every chunk starts from the first frames of the noise.", "flow")
def inc_noise_anew(pair: Pair) -> Context:
    original = cfm.CausalConditionalCFM.starting_noise

    def anew(self: Any, frames: int, noise: mx.array | None) -> mx.array:
        full = original(self, frames, noise)
        return full if noise is not None else mx.tile(full[:, :CHUNK], (1, -(-frames // CHUNK), 1))[:, :frames]

    return patched(cfm.CausalConditionalCFM, "starting_noise", anew)


@fault("inc-prompt-late", "The prompt's mel conditions every chunk one frame late.", "flow")
def inc_prompt_late(pair: Pair) -> Context:
    original = CausalMaskedDiffWithXvec.condition

    def late(self: Any, feat: mx.array, frames: int) -> mx.array:
        return mx.roll(original(self, feat, frames), 1, 1)

    return patched(CausalMaskedDiffWithXvec, "condition", late)


@fault("inc-steps-exchanged", "An Euler step goes on from what another step has left.", "flow.decoder")
def inc_steps_exchanged(pair: Pair) -> Context:
    original = cfm.part_of

    def exchanged(cache: Cache | None, name: str, chunk: int) -> Cache | None:
        first = cache is None or cache._old is None
        return original(cache, name if first else str(STEPS - 1 - int(name)), chunk)

    return patched(cfm, "part_of", exchanged)


@loop_fault(
    "inc-voice-of-another", "A voice starts from the state of another one with the same prompt.", "incremental.voices"
)
def inc_voice_of_another(pair: Pair) -> Context:
    original = prefill._fingerprint
    return patched(
        prefill,
        "_fingerprint",
        lambda prompt: original(type(prompt)(prompt.prompt_token, prompt.prompt_feat, mx.zeros((1, 192)))),
    )


@loop_fault("inc-first-hop", "The first hop does not count the prompt's tokens.", "incremental.hop")
def inc_first_hop(pair: Pair) -> Context:
    original = IncrementalDecoder.due

    def due(self: Any, state: Any) -> int:
        return original(self, state) if state.hops else self.first + self.flow.lookahead + 5

    return patched(IncrementalDecoder, "due", due)


@loop_fault("inc-vocoder-window", "The vocoder sees four frames less to both sides.", "incremental.held_back")
def inc_vocoder_window(pair: Pair) -> Context:
    return _waiting_less("reach", 4)


@loop_fault("inc-source-early", "The excitation does not wait for all that f0 sees.", "incremental.source_window")
def inc_source_early(pair: Pair) -> Context:
    return _waiting_less("source_delay", 3)


def _waiting_less(what: str, frames: int) -> Context:
    original = IncrementalVocoder.__init__

    def init(self: Any, hift: Any) -> None:
        original(self, hift)
        setattr(self, what, getattr(self, what) - frames)
        self.delay -= frames

    return patched(IncrementalVocoder, "__init__", init)


@loop_fault("inc-phase-anew", "The phase of the sines starts anew with every hop.", "hift.m_source.l_sin_gen")
def inc_phase_anew(pair: Pair) -> Context:
    return _phase(lambda sums, count, cache: sums)


@loop_fault("inc-phase-early", "The phase goes on from one frame too early.", "hift.m_source.l_sin_gen")
def inc_phase_early(pair: Pair) -> Context:
    original = source.SineGen2._continued
    return _phase(lambda sums, count, cache: original(sums, count - 1, cache))


def _phase(continued: Callable[[mx.array, int, Cache], mx.array]) -> Context:
    return patched(source.SineGen2, "_continued", staticmethod(continued))


@loop_fault("inc-mel-late", "The mel that the vocoder keeps is one frame too old.", "incremental.vocoder_window")
def inc_mel_late(pair: Pair) -> Context:
    return _kept("mel", 1)


@loop_fault("inc-source-late", "The excitation that is kept is a frame too old.", "incremental.vocoder_window")
def inc_source_late(pair: Pair) -> Context:
    return _kept("source", 480)


def _kept(what: str, late: int) -> Context:
    original = IncrementalVocoder.step

    def step(self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        state = replace(state, **{what: mx.roll(getattr(state, what), late, 1)})
        return original(self, state, *args, **kwargs)

    return patched(IncrementalVocoder, "step", step)


def _joined(keys: Keys) -> tuple[mx.array, mx.array]:
    k, v = (mx.concatenate([pair[which] for pair in keys], axis=2) for which in (0, 1))
    return k, v


def _length(keys: Keys) -> int:
    return sum(k.shape[2] for k, _ in keys)


def _last(keys: Keys, count: int) -> Keys:
    k, v = _joined(keys)
    return [(k[..., -count:, :], v[..., -count:, :])]
