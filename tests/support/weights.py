"""Real weights that are too large for the repository, looked for in a folder beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "weights"


def real_weights(name: str) -> Path:
    """The path of a file with real weights; skips the test, naming the file, where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"needs real weights that are not part of the repository: {path} is missing")
    return path
