"""From speech tokens to audio, all at once or while more tokens come; what a stream remembers is an explicit state."""

from mlx_cosyvoice.decoding.cross_fade import StreamingVocoder, VocoderTail
from mlx_cosyvoice.decoding.decoder import Decoder, SourceNoise, decode
from mlx_cosyvoice.decoding.hops import Hops
from mlx_cosyvoice.decoding.incremental import IncrementalDecoder, IncrementalState, PrefilledVoices
from mlx_cosyvoice.decoding.official import OfficialDecoder, OfficialState
from mlx_cosyvoice.decoding.offline import OfflineDecoder, OfflineState, change_speed

__all__ = [
    "Decoder",
    "Hops",
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
