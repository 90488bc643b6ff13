"""Mistakes in a port of CosyVoice2, one file a stage."""

from __future__ import annotations

from parity.faults.base import Fault, faults_of
from parity.faults.cosyvoice2 import (
    features,
    flow_decoder,
    flow_encoder,
    incremental,
    llm,
    speaker_encoder,
    speech_tokenizer,
    stored,
    streaming,
    text,
    vocoder,
)

#: In data-flow order of their stages.
FAULTS: tuple[Fault, ...] = (
    *faults_of("text_tokenizer", text.MISTAKES),
    *faults_of("audio_features", features.MISTAKES),
    *faults_of("speech_tokenizer", speech_tokenizer.MISTAKES),
    *faults_of("speaker_encoder", speaker_encoder.MISTAKES),
    *faults_of("llm", llm.MISTAKES),
    *faults_of("generation", llm.GENERATION),
    *faults_of("flow_encoder", flow_encoder.MISTAKES),
    *faults_of("flow_decoder", flow_decoder.MISTAKES),
    *faults_of("vocoder", vocoder.MISTAKES),
    *faults_of("vocoder_loud", vocoder.LOUD),
    *faults_of("offline", streaming.OFFLINE),
    *faults_of("streaming", streaming.MISTAKES, "official"),
    *faults_of("flow_pieces", incremental.PIECES, "incremental"),
    *faults_of("flow_left_context", incremental.LEFT_CONTEXT, "incremental"),
    *faults_of("incremental", incremental.LOOP, "incremental"),
    *faults_of("text_tokenizer", stored.TEXT),
    *faults_of("llm", stored.LLM),
    *faults_of("flow_encoder", stored.FLOW),
    *faults_of("vocoder", stored.HIFT),
)
