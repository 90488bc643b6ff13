"""Mistakes in a port of CosyVoice2, one file a stage."""

from __future__ import annotations

from parity.faults.base import Fault
from parity.faults.cosyvoice2 import (
    features,
    flow_decoder,
    flow_encoder,
    generation,
    incremental,
    llm,
    offline,
    speaker_encoder,
    speech_tokenizer,
    stored,
    streaming,
    text,
    vocoder,
)

_FILES = (
    *(text, features, speech_tokenizer, speaker_encoder, llm, generation, flow_encoder, flow_decoder),
    vocoder,
)
_REST = (vocoder.LOUD, offline.CATALOGUE, streaming.CATALOGUE, incremental.PIECES, incremental.LOOP)
_CATALOGUES = (*(file.CATALOGUE for file in _FILES), *_REST, *stored.CATALOGUES)

#: In data-flow order of their stages.
FAULTS: tuple[Fault, ...] = tuple(fault for catalogue in _CATALOGUES for fault in catalogue.faults)
