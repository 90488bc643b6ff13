"""What is wrong with a file."""

from __future__ import annotations


class BadFileError(ValueError):
    """Why a file is refused, on one line, without the file's name."""
