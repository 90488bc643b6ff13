"""`mlx-cosyvoice info`: the versions, the device and the BLAS in use, and what a model folder holds."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import mlx_cosyvoice
from mlx_cosyvoice._blas import BLAS

NAME = "info"
HELP = "Show versions, the device and the BLAS in use, and what a model folder holds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", type=Path, help="a model folder written by `python -m converters`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    facts = _system()
    if arguments.model is not None:
        facts["model"] = _model(arguments.model)
    print(json.dumps(facts, indent=2) if arguments.json else _as_text(facts))


def _system() -> dict[str, Any]:
    import mlx.core as mx

    device = mx.default_device()
    return {
        "version": mlx_cosyvoice.__version__,
        "mlx": importlib.metadata.version("mlx"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": {"type": device.type.name, "name": str(mx.device_info(device).get("device_name", ""))},
        "blas": {"name": BLAS.name, "library": BLAS.library, "note": BLAS.note},
    }


def _model(folder: Path) -> dict[str, Any]:
    """What the folder holds; the weights are not read, only the headers of their files."""
    from mlx_cosyvoice.weights import load_weights, read_config

    _, meta = read_config(folder)
    weights = load_weights(folder)
    components = {}
    for name in meta["components"]:
        own = [weight for key, weight in weights.items() if key.startswith(f"{name}.")]
        components[name] = {
            "dtype": meta["dtypes"][name],
            "parameters": sum(weight.size for weight in own),
            "bytes": sum(weight.nbytes for weight in own),
        }
    total = sum(weight.nbytes for weight in weights.values())
    return {
        "path": str(folder),
        "format_version": meta["format_version"],
        "components": components,
        "bytes": total,
    }


def _as_text(facts: dict[str, Any]) -> str:
    lines = [
        f"mlx-cosyvoice  {facts['version']}",
        f"mlx            {facts['mlx']}",
        f"python         {facts['python']}, {facts['platform']}",
        f"device         {facts['device']['type']} {facts['device']['name']}".rstrip(),
        f"blas           {BLAS}",
    ]
    model = facts.get("model")
    if model:
        lines += ["", f"model          {model['path']} (format {model['format_version']})"]
        lines += [
            f"  {name:<18} {part['dtype']:<9} {part['parameters'] / 1e6:>8.1f} M parameters {_size(part['bytes']):>10}"
            for name, part in model["components"].items()
        ]
        lines.append(f"  {'all':<18} {'':<9} {'':>8}              {_size(model['bytes']):>10}")
    return "\n".join(lines)


def _size(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
