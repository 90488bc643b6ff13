"""A run as plain data, which the HTML page shows as well; and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from mlx_parity.compare import FACTOR, MINIMUM_STEPS
from mlx_parity.findings import RunReport, StageReport
from mlx_parity.report.culprits import culprit_to_dict

#: Raised when a key changes its meaning or goes away.
SCHEMA_VERSION = 1

PACKAGES = ("mlx", "torch", "numpy")


def to_dict(report: RunReport, packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """The whole run, with the versions of these packages where they are installed."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict.value,
        "tolerance": {"factor": FACTOR, "minimum_rounding_steps": MINIMUM_STEPS},
        "versions": versions(packages),
        "stages": {part.name: _stage(part, report.names[1].lower()) for part in report.parts},
        "culprits": [culprit_to_dict(culprit) for culprit in report.culprits],
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of those that are installed, of Python and of the platform."""
    installed = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    found = {name: installed[name] for name in packages if name in installed}
    return {**found, "python": platform.python_version(), "platform": platform.platform()}


def _stage(stage: StageReport, port: str) -> dict[str, Any]:
    return {
        "title": stage.title,
        "verdict": stage.verdict.value,
        "dtype": stage.dtype,
        "seconds": {"reference": round(stage.seconds_reference, 3), port: round(stage.seconds_model, 3)},
        "outputs": {layer.path: layer.to_dict() for layer in stage.outputs},
        "layers": {layer.path: layer.to_dict() for layer in stage.layers},
        "exempt": stage.exempt,
        **({"unpaired": stage.unpaired} if stage.unpaired else {}),
        "measures": stage.measures,
    }


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made if it is missing; one of that name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(data: dict[str, Any], path: Path) -> None:
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
