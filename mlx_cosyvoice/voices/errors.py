"""What goes wrong with voices."""

from __future__ import annotations


class VoiceError(ValueError):
    """A voice, its file or its name is not what it must be; the message names file and key and says what to do."""


class UnknownVoiceError(VoiceError):
    """No voice of that name; the message lists the nearest names and those that exist."""
