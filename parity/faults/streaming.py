"""Mistakes in the loop that streams: hops, offsets, caches, the cross-fade."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, StreamingVocoder, VocoderTail, cross_fade
from parity.faults.base import Catalogue, calling, patched
from parity.pair import Pair

Context = AbstractContextManager[Any]

CATALOGUE = Catalogue("streaming")
fault = CATALOGUE.add


@fault(
    "stream-window",
    "Chunks are cross-faded with a Hann window in place of Hamming.",
    "streaming.cross_fade",
    streaming="official",
)
def stream_window(pair: Pair) -> Context:
    return calling(cross_fade, "np", hamming=np.hanning)


@fault(
    "stream-source-cache",
    "The vocoder starts every chunk with a new source.",
    "streaming.source_cache",
    streaming="official",
)
def stream_source_cache(pair: Pair) -> Context:
    vocode = StreamingVocoder._vocode

    def without(self: Any, mel: mx.array, tail: Any, noise: Any) -> Any:
        return vocode(self, mel, None, noise)

    return patched(StreamingVocoder, "_vocode", without)


@fault("stream-mel-cache", "One mel frame too few is kept between chunks.", "streaming.mel_cache", streaming="official")
def stream_mel_cache(pair: Pair) -> Context:
    keep = StreamingVocoder._tail

    def short(self: Any, mel: mx.array, source: mx.array, wav: mx.array) -> VocoderTail:
        tail = keep(self, mel, source, wav)
        return VocoderTail(tail.mel[:, 1:], tail.source, tail.speech)

    return patched(StreamingVocoder, "_tail", short)


@fault(
    "stream-offset",
    "What was spoken is skipped in tokens in place of mel frames.",
    "streaming.offset",
    streaming="official",
)
def stream_offset(pair: Pair) -> Context:
    def new_frames(self: Any, state: Any, heard: tuple[int, ...], final: bool) -> mx.array:
        prompt = state.prompt
        mel = self.flow(
            mx.array([heard], dtype=mx.int32),
            prompt.prompt_token,
            prompt.prompt_feat,
            prompt.embedding,
            streaming=not final,
            finalize=final,
            n_timesteps=self.n_timesteps,
        )
        return mel[:, state.spoken :]

    return patched(OfficialDecoder, "_new_frames", new_frames)


@fault("stream-hop", "Hops do not grow: each takes 25 tokens.", "streaming.hop", streaming="official")
def stream_hop(pair: Pair) -> Context:
    hop = Hops.hop
    return patched(Hops, "hop", lambda self, number, prompt: hop(self, 0, prompt) if number == 0 else self.chunk)
