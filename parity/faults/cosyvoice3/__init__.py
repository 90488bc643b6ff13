"""Mistakes in a port of CosyVoice3, in what differs from CosyVoice2; one file a stage."""

from __future__ import annotations

from parity.faults.base import Fault
from parity.faults.cosyvoice3 import (
    features,
    flow_decoder,
    flow_encoder,
    incremental,
    llm,
    speech,
    speech_tokenizer,
    stored,
    streaming,
    text,
    vocoder,
)

_FILES = (text, features, speech_tokenizer, speech, llm)
_REST = (llm.LOOP, *(file.CATALOGUE for file in (flow_encoder, flow_decoder, vocoder)), streaming.OFFLINE)
_STREAMED = (streaming.CATALOGUE, incremental.PIECES, incremental.LOOP)
_CATALOGUES = (*(file.CATALOGUE for file in _FILES), *_REST, *_STREAMED, *stored.CATALOGUES)

#: In data-flow order of their stages.
FAULTS: tuple[Fault, ...] = tuple(fault for catalogue in _CATALOGUES for fault in catalogue.faults)
