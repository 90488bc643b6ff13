"""Errors as one line."""

from __future__ import annotations

from mlx_cosyvoice.quoting import plain

#: Characters of a message. Readers keep what they repeat of a file short; a path may be longer.
_MOST = 1200


def describe(error: BaseException) -> str:
    """What went wrong, for people, without line ends and what else could command a terminal."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return plain(" ".join(text.split()), _MOST) or type(error).__name__
