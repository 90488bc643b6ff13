"""Finds an official checkpoint: a local folder, or a repository on the Hugging Face hub; and opens its parts."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.claims import check_claims
from converters.errors import CheckpointError
from converters.onnx_weights import campplus_config, read_campplus, read_speech_tokenizer
from converters.torch_weights import as_float32, open_pt
from converters.yaml_config import model_config, read_qwen_config, read_yaml
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.weights import COMPONENTS

OFFICIAL = "FunAudioLLM/CosyVoice2-0.5B"
YAML = "cosyvoice2.yaml"
SPEAKERS = "spk2info.pt"
BLANK_EN = "CosyVoice-BlankEN"
QWEN_CONFIG = f"{BLANK_EN}/config.json"
TEXT_FILES = (f"{BLANK_EN}/vocab.json", f"{BLANK_EN}/merges.txt", f"{BLANK_EN}/tokenizer_config.json")

#: Component -> its weights.
WEIGHT_FILES = {
    "llm": "llm.pt",
    "flow": "flow.pt",
    "hift": "hift.pt",
    "campplus": "campplus.onnx",
    "speech_tokenizer": "speech_tokenizer_v2.onnx",
}

#: Component -> what the official trainer puts before every key.
KEY_PREFIXES = {"hift": "generator."}

#: Of a mapped file, as much as was read stays in memory until it is closed. It is opened again after so much.
MAX_RESIDENT_BYTES = 256 << 20

_LFS_POINTER = b"version https://git-lfs"


def needed_files(components: Iterable[str] = COMPONENTS) -> list[str]:
    """The files that a conversion of these components reads, relative to the checkpoint's folder."""
    components = list(components)
    text = [QWEN_CONFIG, *TEXT_FILES] if "llm" in components else []
    return [YAML, *text, *(WEIGHT_FILES[name] for name in components)]


def find_checkpoint(name: str | Path, components: Iterable[str] = COMPONENTS) -> Path:
    """The folder of a checkpoint, with every file that the components need.

    Args:
        name: a local folder, or a hub id ("owner/name"), of which only the needed files are downloaded; a download
            that was broken off is resumed.
        components: what will be converted.

    Raises:
        CheckpointError: no such folder, the hub cannot be reached, or a file is missing.
    """
    components = list(components)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(str(name), [*needed_files(components), SPEAKERS])
    require_files(folder, components)
    return folder


def _download(name: str, files: list[str]) -> Path:
    if Path(name).expanduser().exists():
        raise CheckpointError(f"{name}: is a file; give the folder of a checkpoint")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CheckpointError(f"{name}: no such folder (and a hub id has the form owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:  # the client raises its own, the HTTP library's and the system's errors
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        lines = str(error).strip().splitlines()
        raise CheckpointError(
            f"{name}: no such folder here, and the Hugging Face hub did not give it "
            f"({lines[0] if lines else type(error).__name__}). Give a local checkpoint folder, or try the converter "
            "without a download: CHECKPOINT=synthetic"
        ) from error


def require_files(folder: Path, components: Iterable[str] = COMPONENTS) -> None:
    """Check that every needed file is there, without reading it.

    Raises:
        CheckpointError: names all that are missing, empty, or mere Git LFS pointers.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    files = needed_files(components)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: lacks {', '.join(missing)}.{_other_model(folder)} Download the rest.")
    for name in files:
        with (folder / name).open("rb") as file:
            start = file.read(len(_LFS_POINTER))
        if not start:
            raise CheckpointError(f"{folder / name}: is empty. Download it again.")
        if start == _LFS_POINTER:
            raise CheckpointError(f"{folder / name}: is a Git LFS pointer, not the file itself. Run: git lfs pull")


def _other_model(folder: Path) -> str:
    others = {"cosyvoice.yaml": "CosyVoice 1", "cosyvoice3.yaml": "CosyVoice 3", "config.json": "a converted model"}
    for file, model in others.items():
        if not (folder / YAML).exists() and (folder / file).exists():
            return f" It has {file}, so it seems to be {model}; only CosyVoice2 can be converted."
    return ""


@dataclass
class Source:
    """The tensors of one component, as its file holds them, and the sizes that only the file tells."""

    file: Path
    tensors: dict[str, Any]
    fields: dict[str, Any] | None = None
    #: Gives the tensors anew, where they are mapped from the file.
    reopen: Callable[[], dict[str, Any]] | None = None
    _resident: int = 0

    def fetch(self, key: str) -> np.ndarray:
        """An official tensor as float32. Raises CheckpointError if it is not of finite floats."""
        if self.reopen is not None and self._resident > MAX_RESIDENT_BYTES:
            self.tensors |= self.reopen()
            self._resident = 0
        tensor = self.tensors[key]
        self._resident += tensor.nbytes
        return as_float32(tensor if isinstance(tensor, torch.Tensor) else torch.from_numpy(tensor), key, self.file)

    def close(self) -> None:
        """Free the tensors."""
        self.tensors, self.reopen = {}, None


def open_source(folder: Path, component: str) -> Source:
    """Open the weights of a component. Those of `.pt` files are read from disk when they are used.

    Raises:
        CheckpointError: the file is missing, cut off, or carries code.
        OnnxLayoutError: an ONNX file is cut off, or its graph is not the expected one.
    """
    path = folder / WEIGHT_FILES[component]
    if component == "campplus":
        tensors: dict[str, Any] = read_campplus(path)
        return Source(path, tensors, campplus_config(tensors))
    if component == "speech_tokenizer":
        return Source(path, *read_speech_tokenizer(path))
    open_again = partial(open_pt, path, KEY_PREFIXES.get(component, ""), verify=False)
    return Source(path, open_again(verify=True), reopen=open_again)


def config_of(folder: Path, sources: dict[str, Source]) -> CosyVoice2Config:
    """The network's sizes, for the components in `sources`; those of others are defaults.

    Raises:
        ConfigError: a value or key that the MLX network does not support.
    """
    fields = {name: source.fields for name, source in sources.items()}
    config = model_config(
        read_yaml(folder / YAML),
        read_qwen_config(folder / QWEN_CONFIG) if "llm" in sources else None,
        fields.get("speech_tokenizer"),
        fields.get("campplus"),
        where=folder / YAML,
    )
    for name, source in sources.items():
        check_claims(name, config, source.tensors, folder / YAML, source.file)
    return config


def read_model_config(checkpoint: str | Path) -> CosyVoice2Config:
    """The network's sizes of a whole checkpoint folder, those in the ONNX graphs too.

    Raises:
        CheckpointError, ConfigError, OnnxLayoutError: a file is missing, damaged or not supported.
    """
    folder = Path(checkpoint)
    require_files(folder)
    return config_of(folder, {name: open_source(folder, name) for name in COMPONENTS})
