"""The two models under comparison: the reference on the official checkpoint, and the converted MLX model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.checkpoint import config_of, find_checkpoint, open_source, require_files
from converters.qwen import BLANK_EN
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.model import SpeechModel, load
from mlx_cosyvoice.weights import read_config
from parity.quantization.unpacked import unpacked_weights
from reference.checkpoint import load_tensors
from reference.families import FAMILIES
from reference.text_tokenizer import TextTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class Reference:
    """The official checkpoint in PyTorch, a component at a time.

    Files are read by the converters' readers; ONNX Runtime bears witness in the parity stages that the ONNX files were
    read rightly, and the state dicts fit the networks strictly.
    """

    def __init__(
        self,
        checkpoint: Path,
        replaced: Callable[[str], Mapping[str, np.ndarray]] = lambda component: {},
        llm: str | Path | None = None,
    ) -> None:
        """
        Args:
            checkpoint: the official folder.
            replaced: gives, for a component, tensors by official key that stand in for those of the checkpoint.
            llm: another file for the language model's weights, as for `convert`.
        """
        self.checkpoint, self._replaced = checkpoint, replaced
        self.files = require_files(checkpoint, llm=llm)
        self.family = FAMILIES[self.files.official.family.model_type]
        self.config = config_of(self.files, {name: open_source(self.files, name) for name in self.family.networks})
        self._loaded: dict[str, Any] = {}

    def file(self, name: str) -> Path | None:
        """The official file of a component; None for what has none of its own."""
        return self.files.weights(name) if name in self.family.networks else None

    def component(self, name: str, dtype: torch.dtype) -> Any:
        """The component's module in `dtype`. The last one asked for is kept, so that memory holds one at a time."""
        if name == "text_tokenizer":
            return TextTokenizer(self.checkpoint / BLANK_EN, self.family.tokens)
        if name not in self._loaded:
            self._loaded = {name: self._with_replaced(name, self._load(name))}
        module = self._loaded[name]
        return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)

    def _with_replaced(self, name: str, module: torch.nn.Module) -> torch.nn.Module:
        state = module.state_dict()
        for key, array in self._replaced(name).items():
            state[key].copy_(torch.from_numpy(array))  # state dicts share memory with their module
        return module

    def official_tensor(self, name: str) -> Callable[[str], np.ndarray]:
        """Official key of the component -> its tensor in float32: as the checkpoint holds it, or its replacement."""
        source = open_source(self.files, name)
        added = self.files.official.origins[name].added
        made = {key: attrgetter(key)(self.component(name, torch.float32)) for key in added}
        replaced = self._replaced(name)

        def fetch(key: str) -> np.ndarray:
            return replaced[key] if key in replaced else made[key].numpy() if key in made else source.fetch(key)

        return fetch

    def _load(self, name: str) -> torch.nn.Module:
        network, source = self.family.networks[name], open_source(self.files, name)
        tensors = {key: torch.as_tensor(value) for key, value in source.tensors.items()}
        for key, other in network.tied.items():  # safetensors files hold them once
            if other in tensors:
                tensors.setdefault(key, tensors[other])
        return load_tensors(network.build(self.config.to_dict()[name]), tensors, source.file)


@dataclass
class Pair:
    """Both sides. `model` is live: change it before a run to see what the harness says.

    `original` is the reference on the official weights; `reference` is the same one unless the model is quantized: then
    it has the model's weights, unpacked, so that what differs is our code and not the packing.
    """

    reference: Reference
    model: SpeechModel
    original: Reference

    def dtype(self, component: str) -> str:
        """The working dtype of a component of the MLX model; the reference is run in the same."""
        return self.model.dtypes.get(component, "float32")


def load_pair(checkpoint: str | Path, model: str | Path, llm: str | Path | None = None) -> Pair:
    """Load the official checkpoint and the MLX model converted from it, in the dtypes that it holds.

    Args:
        checkpoint: its folder, or a hub id.
        model: its folder, or a hub id.
        llm: the file that the model's language model was converted from, if it is another one than the checkpoint's.
    """
    folder, official = find_model(model), find_checkpoint(checkpoint, llm=llm)
    original = Reference(official, llm=llm)
    _, meta = read_config(folder)
    if meta["quantization"] is None:
        return Pair(original, load(folder, dtype=None), original)
    packed = Reference(official, lambda component: unpacked_weights(folder, component), llm)
    return Pair(packed, load(folder, dtype=None), original)
