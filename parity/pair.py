"""The two models under comparison: the reference on the official checkpoint, and the converted MLX model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reference.campplus
import reference.flow
import reference.hift
import reference.llm
import reference.speech_tokenizer
from converters import onnx_weights
from converters.checkpoint import config_of, find_checkpoint, open_source, require_files
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.model import CosyVoice2
from mlx_cosyvoice.weights import COMPONENTS, read_config
from parity.unpacked import unpacked_weights
from reference.checkpoint import load_tensors
from reference.text_tokenizer import TextTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


#: The language model's text head is its token embedding.
_EMBEDDING, _HEAD = "llm.model.model.embed_tokens.weight", "llm.model.lm_head.weight"


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
        self.config = config_of(self.files, {name: open_source(self.files, name) for name in COMPONENTS})
        self._loaded: dict[str, Any] = {}

    def component(self, name: str, dtype: torch.dtype) -> Any:
        """The component's module in `dtype`. The last one asked for is kept, so that memory holds one at a time."""
        if name == "text_tokenizer":
            return TextTokenizer(self.checkpoint / "CosyVoice-BlankEN")
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
        extra = (
            {"decoder.rand_noise": self.component("flow", torch.float32).decoder.rand_noise} if name == "flow" else {}
        )
        replaced = self._replaced(name)

        def fetch(key: str) -> np.ndarray:
            return replaced[key] if key in replaced else extra[key].numpy() if key in extra else source.fetch(key)

        return fetch

    def _load(self, name: str) -> torch.nn.Module:
        config = self.config.to_dict()[name]
        loaders: dict[str, Callable[[], torch.nn.Module]] = {
            "llm": lambda: self._from_state_dict(reference.llm.build(config), name),
            "flow": lambda: self._from_state_dict(reference.flow.build(config), name),
            "hift": lambda: self._from_state_dict(reference.hift.build(config), name),
            "campplus": lambda: self._from_onnx(
                reference.campplus.build(config), onnx_weights.read_campplus(self.checkpoint / "campplus.onnx")
            ),
            "speech_tokenizer": lambda: self._from_onnx(
                reference.speech_tokenizer.build(config),
                onnx_weights.read_speech_tokenizer(self.checkpoint / "speech_tokenizer_v2.onnx")[0],
            ),
        }
        return loaders[name]()

    def _from_state_dict(self, module: torch.nn.Module, name: str) -> torch.nn.Module:
        tensors = open_source(self.files, name).tensors
        tied = tensors.get(_EMBEDDING)
        if tied is not None:  # safetensors files hold it once
            tensors.setdefault(_HEAD, tied)
        return load_tensors(module, tensors, self.files.weights(name))

    @staticmethod
    def _from_onnx(module: torch.nn.Module, tensors: dict[str, np.ndarray]) -> torch.nn.Module:
        state = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in tensors.items()}
        module.load_state_dict(state, strict=True)
        return module.eval()


@dataclass
class Pair:
    """Both sides. `model` is live: change it before a run to see what the harness says.

    `original` is the reference on the official weights; `reference` is the same one unless the model is quantised: then
    it has the model's weights, unpacked, so that what differs is our code and not the packing.
    """

    reference: Reference
    model: CosyVoice2
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
        return Pair(original, CosyVoice2.load(folder, dtype=None), original)
    packed = Reference(official, lambda component: unpacked_weights(folder, component), llm)
    return Pair(packed, CosyVoice2.load(folder, dtype=None), original)
