"""The sizes that an official checkpoint states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.checkpoint import config_of, open_source, require_files


def read_model_config(checkpoint: Path) -> Any:
    """The network's sizes of a whole checkpoint folder, those in the ONNX graphs too."""
    files = require_files(checkpoint)
    return config_of(files, {name: open_source(files, name) for name in files.official.family.names})
