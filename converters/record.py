"""What a conversion leaves to read: config.json for programs, conversion.json for those who want to know."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.nn as nn
from tqdm import tqdm

import mlx_cosyvoice
from converters.storage import Storage
from mlx_cosyvoice.config import FORMAT_VERSION
from mlx_cosyvoice.families import Family
from mlx_cosyvoice.nn.official import KeyAudit, rules_of


def hashes(files: Mapping[str, Path], progress: bool) -> dict[str, dict[str, Any]]:
    """The sha256 and size of every source file, by its name."""
    total = sum(path.stat().st_size for path in files.values())
    result = {}
    with tqdm(total=total, unit="B", unit_scale=True, desc="checksums", delay=2, disable=not progress) as bar:
        for name, path in files.items():
            digest, size = hashlib.sha256(), 0
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
                    size += len(block)
                    bar.update(len(block))
            result[name] = {"sha256": digest.hexdigest(), "bytes": size}
    return result


def versions() -> dict[str, str]:
    """Package -> version of all that had a hand in it."""
    packages = {name: version(name) for name in ("mlx", "torch", "onnx", "numpy", "safetensors", "tokenizers")}
    return {
        "mlx_cosyvoice": mlx_cosyvoice.__version__,
        "python": platform.python_version(),
        **packages,
    }


def audit_record(module: nn.Module, audit: KeyAudit, added: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What became of every official key.

    Returns:
        `used`: official key -> our keys made with it; `unused`: official key -> the reason; `added`: what official
        files do not hold -> where it is from.
    """
    used: dict[str, list[str]] = {key: [] for key in sorted(audit.used.keys() - added.keys())}
    for path, owner in sorted(module.named_modules()):
        for name, rule in rules_of(owner).items():
            for source in rule.sources:
                key = f"{path}.{source}" if path else source
                if key in used:
                    used[key].append(f"{path}.{name}" if path else name)
    return {"used": used, "unused": dict(sorted(audit.unused.items())), "added": added}


def quantization_record(storages: Iterable[Storage]) -> dict[str, Any] | None:
    """What became of every layer of the components that were quantized; None if none was.

    Returns:
        `bits`, `group_size`, and by component `quantized` (paths) and `in_full` (path -> why).
    """
    chosen = [storage for storage in storages if storage.quantization is not None]
    if not chosen or chosen[0].quantization is None:
        return None
    return {
        "bits": chosen[0].quantization.bits,
        "group_size": chosen[0].quantization.group_size,
        "components": {one.component: {"quantized": sorted(one.packed), "in_full": one.in_full} for one in chosen},
    }


def config_json(
    family: Family,
    config: Any,
    components: list[str],
    dtypes: dict[str, str],
    layer_dtypes: dict[str, str],
    quantization: dict[str, Any] | None,
) -> dict[str, Any]:
    """The content of config.json: sizes of the components that are there, and what they are stored as."""
    sizes = {key: value for key, value in config.to_dict().items() if key not in family.names or key in components}
    return {
        "model_type": family.model_type,
        "format_version": FORMAT_VERSION,
        "components": components,
        "dtypes": dtypes,
        **({"layer_dtypes": layer_dtypes} if layer_dtypes else {}),
        # the second name is the one that the Hugging Face hub looks for
        **({"quantization": quantization, "quantization_config": quantization} if quantization else {}),
        **sizes,
    }


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
