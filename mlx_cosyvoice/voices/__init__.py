"""Voices: taken from a recording, kept in files and in a library."""

from mlx_cosyvoice.voices.voice import Voice

__all__ = ["Voice"]
