"""A file that says what is to be compared: what the command line reads.

It has three functions: `reference()` makes the PyTorch model, `port()` the one that is judged, and `inputs()` what both
are called with, as for `check`. `call(side, given)`, `whole(side, given)` and `RENAME` are there if `check` would need
them; `SEED` and `FACTOR` as well. For a pipeline, `stages()` gives a list of `Port` in place of the first two.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_parity.compare import FACTOR
from mlx_parity.port import Pipeline, of_one_port


class PortFileError(ValueError):
    """A file that does not say what is to be compared; the message names it and what it lacks."""


@dataclass(frozen=True)
class PortFile:
    """What such a file says."""

    path: Path
    pipeline: Pipeline
    inputs: Mapping[str, Any]
    seed: int
    factor: float


def load_port_file(path: Path) -> PortFile:
    """Run the file, and take from it what it says.

    Raises:
        PortFileError: it is not there, or lacks a function.
    """
    if not path.is_file():
        raise PortFileError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PortFileError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    names = ("stages", "inputs") if hasattr(module, "stages") else ("reference", "port", "inputs")
    missing = [name for name in names if not callable(getattr(module, name, None))]
    if missing:
        raise PortFileError(f"{path}: has no function {', '.join(f'{name}()' for name in missing)}")
    inputs = module.inputs()
    if hasattr(module, "stages"):
        pipeline = Pipeline(module.stages())
    else:
        how = (getattr(module, name, None) for name in ("call", "RENAME", "whole"))
        pipeline, inputs = of_one_port(path.stem, module.reference, module.port, inputs, *how)
    return PortFile(path, pipeline, inputs, getattr(module, "SEED", 0), getattr(module, "FACTOR", FACTOR))
