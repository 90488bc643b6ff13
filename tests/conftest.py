"""The tiny synthetic checkpoint and its conversion, made once for all tests. Tests must not change them."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.convert import convert
from reference.synthetic import write_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny synthetic checkpoint with the golden numbers' seed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", size="tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its conversion to MLX in float32."""
    return convert(tiny_checkpoint, tmp_path_factory.mktemp("model") / "tiny-mlx").out
