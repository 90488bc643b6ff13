"""Which weights are judged, and their conversions in other precisions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.convert import RECORD, convert
from mlx_cosyvoice import CosyVoice2

#: Precision -> how it is converted.
PRECISIONS: Mapping[str, Mapping[str, Any]] = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "8 bits": {"quantize": 8},
    "4 bits": {"quantize": 4},
    "8 bits, flow too": {"quantize": 8, "quantize_components": ("llm", "flow")},
    "4 bits, flow too": {"quantize": 4, "quantize_components": ("llm", "flow")},
}


def weights_of(checkpoint: Path, model: Path) -> str:
    """A short name of the weights: of the content of all files that `model` was converted from.

    Raises:
        OSError: a file is missing.
        ValueError: it was converted from other files than those of `checkpoint`.
    """
    together = hashlib.sha256()
    for name, file in json.loads((model / RECORD).read_text(encoding="utf-8"))["files"].items():
        found = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
        if found != file["sha256"]:
            raise ValueError(f"{model} was converted from another {name} than {checkpoint} has: convert it again")
        together.update(found.encode())
    return together.hexdigest()[:12]


def load(checkpoint: Path, work: Path, weights: str, precision: str) -> CosyVoice2:
    """The model in one of `PRECISIONS`, converted into `work` unless it is there.

    What has 16 bits computes in them. What is packed computes in float32 on the unpacked weights, as it does on a CPU
    by default: that they are packed changes the weights, and the arithmetic by rounding alone.
    """
    options = PRECISIONS[precision]
    folder = work / f"{weights}-{precision.replace(',', '').replace(' ', '-')}"
    if not folder.exists():
        convert(checkpoint, folder, **options)
    return CosyVoice2.load(folder, dtype=None if "dtype" in options else "float32")
