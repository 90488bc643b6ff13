"""The side that converts a checkpoint, measured like the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.convert import convert
from parity.bench.jobs import Job


class Side:
    """Converts the official checkpoint `folder`."""

    name = "converter"

    def __init__(self, folder: Path, config: Mapping[str, Any], threads: int) -> None:
        self.folder = folder

    def load(self, names: str) -> None:
        """Nothing to load."""

    def job(self, name: str, inputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Job:
        return Job(lambda _: convert(self.folder, Path(settings["out"]), force=True))
