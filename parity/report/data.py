"""A run as plain data: what `parity.json` holds and the HTML page shows."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from converters.upload import RECORD, model_sha256
from mlx_cosyvoice.files import write_file
from mlx_parity.compare import FACTOR, MINIMUM_STEPS
from mlx_parity.findings import StageReport
from parity.findings import RunReport
from parity.measures import mel_statistics
from parity.report.culprits import culprit_to_dict

#: Raised when a key of `parity.json` changes its meaning or goes away.
SCHEMA_VERSION = 1

PACKAGES = ("mlx", "torch", "numpy", "onnxruntime")


def to_dict(report: RunReport, *, checkpoint: str = "", model: str = "") -> dict[str, Any]:
    """The whole run; docs/formats.md describes the keys."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict.value,
        "checkpoint": checkpoint,
        "model": model,
        "settings": vars(report.settings),
        "tolerance": {"factor": FACTOR, "minimum_rounding_steps": MINIMUM_STEPS},
        "versions": {**_versions(), "python": platform.python_version(), "platform": platform.platform()},
        "stages": {part.name: _stage(part) for part in report.parts},
        "culprits": [culprit_to_dict(culprit) for culprit in report.culprits],
        **_model_sha256(Path(model)),
        **_quantization(report),
    }


def _model_sha256(model: Path) -> dict[str, str]:
    """Which model it is, for the model card of one that is published."""
    return {"model_sha256": model_sha256(model)} if (model / RECORD).is_file() else {}


def _quantization(report: RunReport) -> dict[str, Any]:
    if not report.quantization:
        return {}
    return {
        "quantization": {
            "summary": [drift.summary() for drift in report.quantization],
            "components": {drift.component: drift.to_dict() for drift in report.quantization},
        }
    }


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def _stage(stage: StageReport) -> dict[str, Any]:
    data: dict[str, Any] = {
        "title": stage.title,
        "verdict": stage.verdict.value,
        "dtype": stage.dtype,
        "seconds": {"reference": round(stage.seconds_reference, 3), "mlx": round(stage.seconds_model, 3)},
        "outputs": {layer.path: layer.to_dict() for layer in stage.outputs},
        "layers": {layer.path: layer.to_dict() for layer in stage.layers},
        "exempt": stage.exempt,
        "measures": stage.measures,
    }
    mel = stage.arrays.get("mel")
    if mel is not None and mel[0].shape == mel[1].shape and all(np.isfinite(side).all() for side in mel):
        data["mel"] = mel_statistics(*mel)
    return data


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made if it is missing; one of that name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode(), force=True)


def write_json(data: dict[str, Any], path: Path) -> None:
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
