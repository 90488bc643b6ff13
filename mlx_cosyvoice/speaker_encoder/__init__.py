"""CAM++: Kaldi fbank of a voice to its speaker embedding."""

from mlx_cosyvoice.speaker_encoder.campplus import CAMPPlus

__all__ = ["CAMPPlus"]
