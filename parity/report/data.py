"""A run as plain data: what `parity.json` holds and the HTML page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.upload import RECORD, model_sha256
from mlx_parity.report import data
from parity.findings import RunReport
from parity.measures.mel import mel_statistics

PACKAGES = (*data.PACKAGES, "onnxruntime")


def to_dict(report: RunReport, *, checkpoint: str = "", model: str = "") -> dict[str, Any]:
    """The whole run; docs/formats.md describes the keys."""
    result = data.to_dict(report, PACKAGES)
    for stage in report.stages:
        mel = stage.arrays.get("mel")
        if mel is not None and mel[0].shape == mel[1].shape and all(np.isfinite(side).all() for side in mel):
            result["stages"][stage.name]["mel"] = mel_statistics(*mel)
    result |= {"checkpoint": checkpoint, "model": model, "settings": vars(report.settings)}
    if (Path(model) / RECORD).is_file():  # which model it is, for the model card of one that is published
        result["model_sha256"] = model_sha256(Path(model))
    if report.quantization:
        result["quantization"] = {
            "summary": [drift.summary() for drift in report.quantization],
            "components": {drift.component: drift.to_dict() for drift in report.quantization},
        }
    if report.heard:
        result["heard"] = {"why_not": report.heard} if isinstance(report.heard, str) else report.heard.to_dict()
    return result
