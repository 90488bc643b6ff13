"""Audio in and out, and the three features that the networks take."""

from mlx_cosyvoice.audio.errors import AudioError, AudioWarning
from mlx_cosyvoice.audio.fbank import kaldi_fbank, mean_normalize
from mlx_cosyvoice.audio.load import MAX_PROMPT_SECONDS, Recording, load_audio, read_recording
from mlx_cosyvoice.audio.log_mel import log_mel_spectrogram
from mlx_cosyvoice.audio.mel import mel_spectrogram
from mlx_cosyvoice.audio.pieces import recording_pieces
from mlx_cosyvoice.audio.player import PlaybackError, Player
from mlx_cosyvoice.audio.write import write_wav
from mlx_cosyvoice.audio.writer import AudioWriter, check_audio_target, open_audio

__all__ = [
    "MAX_PROMPT_SECONDS",
    "AudioError",
    "AudioWarning",
    "AudioWriter",
    "PlaybackError",
    "Player",
    "Recording",
    "check_audio_target",
    "kaldi_fbank",
    "load_audio",
    "log_mel_spectrogram",
    "mean_normalize",
    "mel_spectrogram",
    "open_audio",
    "read_recording",
    "recording_pieces",
    "write_wav",
]
