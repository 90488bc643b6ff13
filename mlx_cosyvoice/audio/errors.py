"""The error of every audio file that cannot be used."""


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says why."""
