"""What is said of audio files that cannot be used, and of those that can be, in part or with a doubt."""


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says why."""


class AudioWarning(UserWarning):
    """An audio file or a transcript that was taken, though something is odd about it; the message names it."""
