"""`mlx-cosyvoice info`: the versions, the device and the BLAS in use, and what a model folder holds."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_cosyvoice
from mlx_cosyvoice._blas import BLAS, VARIABLE
from mlx_cosyvoice.cli.options import MODEL_VARIABLE, runs
from mlx_cosyvoice.cli.table import columns
from mlx_cosyvoice.quoting import plain

if TYPE_CHECKING:
    import mlx.core as mx

    from mlx_cosyvoice.quantize import Quantization

NAME = "info"
HELP = "Show versions, the device and the BLAS in use, and what a model folder holds."

_EXAMPLES = """examples:
  mlx-cosyvoice info
  mlx-cosyvoice info --model DIR
  mlx-cosyvoice info --model DIR --json"""


@dataclass(frozen=True)
class InfoOptions:
    """What `info` is asked for; `model` is a folder or a repository, None: what the environment names, if anything."""

    model: str | None
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--model",
        metavar="DIR",
        help=f"a model folder written by `python -m converters`, or hub repository (default: ${MODEL_VARIABLE})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    runs(parser, InfoOptions, run)


def run(options: InfoOptions) -> None:
    folder = options.model or os.environ.get(MODEL_VARIABLE)
    facts = _system()
    if folder:
        from mlx_cosyvoice.hub import find_model

        facts["model"] = _model(find_model(folder))
    print(json.dumps(facts, indent=2) if options.json else _as_text(facts))


def _system() -> dict[str, Any]:
    import importlib.metadata  # which is slow to import

    from mlx_cosyvoice.nn import backend
    from mlx_cosyvoice.voices import VoiceLibrary

    library = VoiceLibrary()
    return {
        "version": mlx_cosyvoice.__version__,
        "mlx": importlib.metadata.version("mlx"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": backend.facts(),
        "blas": {"name": BLAS.name, "library": BLAS.library, "note": BLAS.note},
        "voices": {"folder": str(library.folder), "count": len(library.names())},
    }


def _model(folder: Path) -> dict[str, Any]:
    """What the folder holds; the weights are not read, only the headers of their files."""
    from mlx_cosyvoice.loading import computing_dtype
    from mlx_cosyvoice.voices import read_spk2info_safetensors
    from mlx_cosyvoice.weights import StoredModel

    stored = StoredModel.open(folder)
    meta = stored.meta
    components = {}
    for name in meta["components"]:
        own, packed = stored.component(name), stored.packed(name)
        components[name] = {
            "dtype": meta["dtypes"][name],
            "computed_in": computing_dtype() or meta["dtypes"][name],
            "quantization": _quantization(packed),
            "parameters": _parameters(own, packed),
            "bytes": sum(weight.nbytes for weight in own.values()),
        }
    speakers = folder / "spk2info.safetensors"
    return {
        "path": str(folder),
        "family": stored.family.title,
        "format_version": meta["format_version"],
        "sample_rate": stored.config.sample_rate,
        "components": components,
        "bytes": sum(weight.nbytes for weight in stored.weights.values()),
        "float32_exceptions": sorted(meta["layer_dtypes"]),
        "speakers": sorted(read_spk2info_safetensors(speakers)) if os.path.lexists(speakers) else [],
    }


def _parameters(weights: Mapping[str, mx.array], packed: Mapping[str, Quantization]) -> int:
    """Numbers of the model as it was before any was packed: scales and biases are none of it."""
    count = sum(weight.size for weight in weights.values())
    for layer, own in packed.items():
        scales = weights[f"{layer}.scales"].size
        count += scales * own.group_size - 2 * scales - weights[f"{layer}.weight"].size
    return count


def _quantization(packed: Mapping[str, Quantization]) -> dict[str, Any] | None:
    """How many layers of a component are packed, and in what."""
    kinds = sorted({(own.bits, own.group_size) for own in packed.values()})
    if not kinds:
        return None
    return {
        "layers": len(packed),
        "kinds": [{"bits": bits, "group_size": group_size} for bits, group_size in kinds],
    }


def _as_text(facts: dict[str, Any]) -> str:
    lines = [
        f"mlx-cosyvoice  {facts['version']}",
        f"mlx            {facts['mlx']}",
        f"python         {facts['python']}, {facts['platform']}",
        f"device         {_device(**facts['device'])}",
        f"blas           {_blas()}",
        f"voices         {facts['voices']['count']} in {facts['voices']['folder']}",
    ]
    model = facts.get("model")
    if model:
        rows = [
            ["  " + name, _dtype(part), f"{part['parameters'] / 1e6:.1f} M parameters", _size(part["bytes"])]
            for name, part in model["components"].items()
        ]
        rows.append(["  all", "", "", _size(model["bytes"])])
        widths = [max(len(row[column]) for row in rows) for column in (2, 3)]
        rows = [[*row[:2], row[2].rjust(widths[0]), row[3].rjust(widths[1])] for row in rows]
        lines += ["", f"model          {model['path']} ({_kind(**model)})"]
        lines += [columns(rows)]
        if model["float32_exceptions"]:
            lines.append(f"in float32     {len(model['float32_exceptions'])} modules of the components above")
        lines.append(f"speakers       {plain(', '.join(model['speakers']), 2000) or 'none'}")
    return "\n".join(lines)


def _kind(family: str, format_version: int, sample_rate: int, **_: Any) -> str:
    return f"{family}, format {format_version}, {sample_rate} Hz"


def _device(type: str, name: str, form: str) -> str:
    return f"{type} {name}".rstrip() + (
        ", in the form of a GPU (MLX_COSYVOICE_FORM=device)" if form != type == "cpu" else ""
    )


def _blas() -> str:
    return f"{BLAS}, in place of MLX's own ({VARIABLE}=none keeps that)" if BLAS.library else str(BLAS)


def _dtype(part: dict[str, Any]) -> str:
    """What a component is stored in, and what it is computed in on this device unless that goes without saying."""
    text, quantization = str(part["dtype"]), part["quantization"]
    if quantization is not None:
        kinds = ", ".join(f"{kind['bits']} bits in groups of {kind['group_size']}" for kind in quantization["kinds"])
        text += f", {quantization['layers']} layers of {kinds}"
    plain = quantization is None and part["computed_in"] == part["dtype"]
    return text if plain else f"{text}; computed in {part['computed_in']}"


def _size(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
