"""Mistakes in the loop that streams: hops, offsets, caches, the cross-fade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, StreamingVocoder, VocoderTail, cross_fade
from parity.faults.base import Catalogue

CATALOGUE = Catalogue("streaming", "official")
at = CATALOGUE.at

at("streaming.cross_fade").calling(
    "stream-window",
    "Chunks are cross-faded with a Hann window in place of Hamming.",
    cross_fade,
    "np",
    hamming=np.hanning,
)


@at("streaming.source_cache").wrapping(StreamingVocoder, "_vocode")
def stream_source_cache(original: Any, self: Any, mel: mx.array, tail: Any, noise: Any) -> Any:
    """The vocoder starts every chunk with a new source."""
    return original(self, mel, None, noise)


@at("streaming.mel_cache").wrapping(StreamingVocoder, "_tail")
def stream_mel_cache(original: Any, self: Any, mel: mx.array, source: mx.array, wav: mx.array) -> VocoderTail:
    """One mel frame too few is kept between chunks."""
    tail = original(self, mel, source, wav)
    return VocoderTail(tail.mel[:, 1:], tail.source, tail.speech)


@at("streaming.offset").wrapping(OfficialDecoder, "_new_frames")
def stream_offset(original: Any, self: Any, state: Any, heard: tuple[int, ...], final: bool) -> mx.array:
    """What was spoken is skipped in tokens in place of mel frames."""
    return original(self, replace(state, spoken=0), heard, final)[:, state.spoken :]


@at("streaming.hop").wrapping(Hops, "hop")
def stream_hop(original: Any, self: Any, number: int, prompt: int) -> int:
    """Hops do not grow: each takes 25 tokens."""
    return original(self, 0, prompt) if number == 0 else self.chunk
