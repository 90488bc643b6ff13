"""Errors as one line."""

from __future__ import annotations


def describe(error: BaseException) -> str:
    """What went wrong, for people, without line ends."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(text.split()) or type(error).__name__
