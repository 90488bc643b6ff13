"""How the model has to speak for a fault of some stage to be heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_cosyvoice.decoding import Decoder, IncrementalDecoder, OfficialDecoder, OfflineDecoder
from parity.faults.base import Fault


@dataclass(frozen=True)
class Way:
    """A way to speak.

    Attributes:
        name: what it is called in tables.
        decoder: made of flow and vocoder.
        clones: the voice is taken anew from the recording, which the language model then goes on from.
        generates: the language model says the text; else tokens are given that it said when it was healthy.
        arriving: the text comes word by word, and is interleaved with speech.
        joined: all texts make one utterance, which has some hops.
    """

    name: str
    decoder: Callable[[Any, Any], Decoder]
    clones: bool = False
    generates: bool = False
    arriving: bool = False
    joined: bool = False


CLONED = Way("cloned anew", OfflineDecoder, clones=True, generates=True)
GENERATED = Way("tokens anew", OfflineDecoder, generates=True)
ARRIVING = Way("text word by word", OfflineDecoder, generates=True, arriving=True)
OFFLINE = Way("offline", OfflineDecoder)
FASTER = Way("at speed 1.25, in 6 steps", lambda flow, hift: OfflineDecoder(flow, hift, speed=1.25, n_timesteps=6))
OFFICIAL = Way("official streaming", OfficialDecoder, joined=True)
INCREMENTAL = Way("incremental streaming", IncrementalDecoder, joined=True)
BOUNDED = Way(
    "incremental, looking 2 s back",
    lambda flow, hift: IncrementalDecoder(flow, hift, left_context_chunks=2),
    joined=True,
)

#: By stage, of faults that show offline.
STAGES = {
    "audio_features": CLONED,
    "speech_tokenizer": CLONED,
    "speaker_encoder": CLONED,
    "text_tokenizer": GENERATED,
    "llm": GENERATED,
    "generation": GENERATED,
    "offline": FASTER,
}


def way_of(fault: Fault) -> Way:
    """The cheapest way to hear a fault."""
    if fault.streaming == "official":
        return OFFICIAL
    if fault.streaming == "incremental":
        return BOUNDED if fault.stage == "flow_left_context" else INCREMENTAL
    if "llm.generate_bistream" in fault.expected:
        return ARRIVING
    return STAGES.get(fault.stage, OFFLINE)
