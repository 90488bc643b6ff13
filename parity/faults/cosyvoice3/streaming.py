"""Mistakes in how CosyVoice3 is streamed as upstream does it, and in how it is spoken at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, offline
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, causal_generator
from parity.faults.base import Catalogue
from parity.faults.shared import noise_beginning

OFFLINE, CATALOGUE = Catalogue("offline"), Catalogue("streaming", "official")
at = CATALOGUE.at

HOP, OFFSET, NOISE = (at(f"streaming.{part}") for part in ("hop", "offset", "noise"))
HIFT = at("hift")


@OFFLINE.at("offline.flow").wrapping(offline.OfflineDecoder, "step")
def offline_in_chunks(original: Any, self: Any, *args: Any, **options: Any) -> Any:
    """Offline the flow attends in chunks, as if speech were streamed."""
    flow = self.flow
    try:
        self.flow = _Streaming(flow)
        return original(self, *args, **options)
    finally:
        self.flow = flow


class _Streaming:
    """A flow that always streams."""

    def __init__(self, flow: CausalMaskedDiffWithDiT) -> None:
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flow, name)

    def __call__(self, *args: Any, **options: Any) -> mx.array:
        return self._flow(*args, **{**options, "streaming": True})


@HOP.wrapping(OfficialDecoder, "_new_frames")
def last_hop_in_chunks(original: Any, self: Any, state: Any, heard: Any, final: bool) -> mx.array:
    """The last hop attends in chunks too, where upstream has it attend to everything."""
    flow = self.flow
    try:
        self.flow = _Streaming(flow)
        return original(self, state, heard, final)
    finally:
        self.flow = flow


@HOP.wrapping(Hops, "hop")
def prompt_not_filled(original: Any, self: Any, number: int, prompt: int) -> int:
    """The first hop does not fill the prompt up to a whole chunk."""
    return original(self, number, 0)


@HOP.wrapping(OfficialDecoder, "due")
def lookahead_not_waited_for(original: Any, self: Any, state: Any) -> int:
    """A later hop does not wait for its lookahead, so it speaks three tokens fewer."""
    return original(self, state) - (self.hops.lookahead if state.hops else 0)


@OFFSET.wrapping(OfficialDecoder, "_new_frames")
def offset_in_tokens(original: Any, self: Any, state: Any, heard: Any, final: bool) -> mx.array:
    """What was spoken is skipped in tokens in place of mel frames."""
    return original(self, replace(state, spoken=0), heard, final)[:, state.spoken :]


noise_beginning(NOISE, "noise-anew-in-every-piece", "The noise begins anew with every piece.", lambda begin, samples: 0)
noise_beginning(
    NOISE,
    "noise-one-frame-late",
    "The noise of a later piece goes on one frame too late.",
    lambda begin, samples: begin + 480 if begin else 0,
)


@HIFT.wrapping(CausalHiFTGenerator, "upsampled")
def mirrored_in_every_piece(original: Any, self: Any, level: int, x: mx.array, cache: Any) -> mx.array:
    """The mirrored frame before the last level is put before every piece, in place of the first alone."""
    made = original(self, level, x, cache)
    started = cache is not None and cache.past is not None
    return mx.concatenate([made[:, 1:2], made[:, :-1]], axis=1) if level == len(self.ups) - 1 and started else made


@HIFT.wrapping(causal_generator, "held_back")
def f0_ahead_as_zeros(original: Any, x: mx.array, reach: int, finalize: bool, cache: Any = None) -> Any:
    """While speech is streamed, zeros stand for the frames that f0 looks at."""
    known, context = original(x, reach, finalize, cache)
    return known, (mx.zeros_like(context) if context is not None and reach == 3 else context)


@HIFT.wrapping(CausalHiFTGenerator, "source_spectrum")
def source_not_delayed(original: Any, self: Any, source: mx.array, finalize: bool, cache: Any) -> mx.array:
    """While speech is streamed, the excitation does not wait for conv_pre, which is four frames behind."""
    made = original(self, source, finalize, cache)
    return made if finalize else mx.roll(made, -4 * self.samples_per_frame // self.stft.hop, 1)
