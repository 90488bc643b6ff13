"""Voices: what the model continues, kept in files and in a library; and the speakers of official models."""

from mlx_cosyvoice.voices.errors import UnknownVoiceError, VoiceError
from mlx_cosyvoice.voices.importing import import_voices, read_voices
from mlx_cosyvoice.voices.library import VoiceLibrary
from mlx_cosyvoice.voices.spk2info import read_spk2info, read_spk2info_safetensors, write_spk2info_safetensors
from mlx_cosyvoice.voices.voice import Voice

__all__ = [
    "UnknownVoiceError",
    "Voice",
    "VoiceError",
    "VoiceLibrary",
    "import_voices",
    "read_spk2info",
    "read_spk2info_safetensors",
    "read_voices",
    "write_spk2info_safetensors",
]
