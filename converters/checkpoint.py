"""Finds an official checkpoint: a local folder, or a repository on the Hugging Face hub; and opens its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.claims import check_claims
from converters.diagnosis import ONLY, other_model, what_it_is
from converters.download import download
from converters.errors import CheckpointError
from converters.layout import Files, locate
from converters.torch_weights import as_float32, open_weights
from converters.yaml_config import model_config
from converters.yaml_reader import read_yaml
from mlx_cosyvoice.foreign import is_lfs_pointer

#: Of a mapped file, as much as was read stays in memory until it is closed. It is opened again after so much.
MAX_RESIDENT_BYTES = 256 << 20


def find_checkpoint(name: str | Path, components: Iterable[str] | None = None, llm: str | Path | None = None) -> Path:
    """The folder of a checkpoint, with every file that the components need.

    Args:
        name: a local folder, or a hub id ("owner/name"), of which only the needed files are downloaded; a download
            that was broken off is resumed.
        components: what will be converted; None for all.
        llm: another file for the language model's weights: a path, or the name of a file of the checkpoint.

    Raises:
        CheckpointError: no such folder, the hub cannot be reached, or a file is missing.
    """
    components = None if components is None else list(components)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        remote = llm is not None and not Path(llm).expanduser().exists()
        folder = download(str(name), components, str(llm) if remote else None)
    require_files(folder, components, llm)
    return folder


def require_files(folder: Path, components: Iterable[str] | None = None, llm: str | Path | None = None) -> Files:
    """Check that every needed file is there, without reading it.

    Args:
        folder: of a checkpoint.
        components: what will be converted; None for all.
        llm: as for `find_checkpoint`.

    Raises:
        ValueError: `llm` is of no use to `components`.
        CheckpointError: names all that are missing, empty, or mere Git LFS pointers.
    """
    if llm is not None and components is not None and "llm" not in components:
        raise ValueError("llm: the language model is not among the components that are converted")
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    files, missing = locate(folder, components, llm)
    if missing:
        advice = what_it_is(folder, missing) or "Download the rest."
        raise CheckpointError(f"{folder}: lacks {', '.join(missing)}. {advice}")
    for path in files.paths.values():
        check_content(path)
    return files


def check_content(path: Path) -> None:
    """Refuse a file that stands for another one which was not downloaded.

    Raises:
        CheckpointError: it is empty, or a Git LFS pointer.
    """
    if not path.stat().st_size:
        raise CheckpointError(f"{path}: is empty. Download it again.")
    if is_lfs_pointer(path):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file itself. Run: git lfs pull")


@dataclass
class Source:
    """The tensors of one component, as its file holds them, and the sizes that only the file tells."""

    file: Path
    tensors: dict[str, Any]
    fields: dict[str, Any] | None = None
    #: Gives the tensors of the file anew, mapped from it.
    reopen: Callable[[], dict[str, Any]] = dict
    #: What of the file's names and content was left aside; {} for one as published.
    stripped: dict[str, Any] = field(default_factory=dict)
    _resident: int = 0

    def fetch(self, key: str) -> np.ndarray:
        """An official tensor as float32. Raises CheckpointError if it is not of finite floats."""
        if self._resident > MAX_RESIDENT_BYTES:
            self.release()
        tensor = self.tensors[key]
        self._resident += tensor.nbytes
        if not isinstance(tensor, torch.Tensor):  # those of ONNX files may lie at any byte
            tensor = torch.from_numpy(np.require(tensor, requirements=("C", "A", "W")))
        return as_float32(tensor, key, self.file)

    def release(self) -> None:
        """Let go what was read into memory so far."""
        self.tensors |= self.reopen()
        self._resident = 0

    def close(self) -> None:
        """Free the tensors."""
        self.tensors, self.reopen = {}, dict


def open_source(files: Files, component: str) -> Source:
    """Open the weights of a component. They are read from disk when they are used.

    Raises:
        CheckpointError: the file is missing, cut off, carries code, or holds something else.
        OnnxLayoutError: an ONNX file is cut off, or its graph is not the expected one.
    """
    path, origins = files.weights(component), files.official.origins
    read = origins[component].read
    if read is not None:
        return Source(path, *read(path), reopen=lambda: read(path)[0])
    state = open_weights(path, component, origins)
    open_again = partial(open_weights, path, component, origins, verify=False)
    return Source(path, state.tensors, reopen=lambda: open_again().tensors, stripped=state.record())


def config_of(files: Files, sources: dict[str, Source]) -> Any:
    """The network's sizes, for the components in `sources`; those of others are defaults.

    Raises:
        CheckpointError: the YAML is of another model.
        ConfigError: a value or key that the MLX network does not support.
    """
    official, path = files.official, files.yaml
    content = read_yaml(path)
    other = other_model(content)
    if other:
        raise CheckpointError(f"{path}: is of {other}; {ONLY}")
    found = {
        name: official.origins[name].sizes(files.paths) | (source.fields or {}) for name, source in sources.items()
    }
    config = model_config(official, official.completed(content), found, where=path)
    for name, source in sources.items():
        check_claims(official, name, config, source.tensors, path, source.file)
    return config
