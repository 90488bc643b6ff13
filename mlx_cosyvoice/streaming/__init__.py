"""From speech tokens to audio, all at once or while more tokens come; what a stream remembers is an explicit state."""

from mlx_cosyvoice.streaming.decoder import Decoder, FlowPrompt, SourceNoise, decode
from mlx_cosyvoice.streaming.incremental import IncrementalDecoder, IncrementalState
from mlx_cosyvoice.streaming.official import OfficialDecoder, OfficialState
from mlx_cosyvoice.streaming.offline import OfflineDecoder, OfflineState, change_speed
from mlx_cosyvoice.streaming.prefill import PrefilledVoices
from mlx_cosyvoice.streaming.schedule import HopSchedule
from mlx_cosyvoice.streaming.vocoder import StreamingVocoder, VocoderTail

__all__ = [
    "Decoder",
    "FlowPrompt",
    "HopSchedule",
    "IncrementalDecoder",
    "IncrementalState",
    "OfficialDecoder",
    "OfficialState",
    "OfflineDecoder",
    "OfflineState",
    "PrefilledVoices",
    "SourceNoise",
    "StreamingVocoder",
    "VocoderTail",
    "change_speed",
    "decode",
]
