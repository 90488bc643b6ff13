"""Streaming whose cost does not grow: flow and vocoder compute every frame once."""

from mlx_cosyvoice.decoding.incremental.decoder import LEFT_CONTEXT_CHUNKS, IncrementalDecoder, IncrementalState
from mlx_cosyvoice.decoding.incremental.flow import Final, FlowState, IncrementalFlow
from mlx_cosyvoice.decoding.incremental.prefill import PrefilledVoices
from mlx_cosyvoice.decoding.incremental.vocoder import IncrementalVocoder, VocoderState

__all__ = [
    "LEFT_CONTEXT_CHUNKS",
    "Final",
    "FlowState",
    "IncrementalDecoder",
    "IncrementalFlow",
    "IncrementalState",
    "IncrementalVocoder",
    "PrefilledVoices",
    "VocoderState",
]
