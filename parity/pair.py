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
from converters.checkpoint import open_source, read_model_config
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.model import CosyVoice2
from mlx_cosyvoice.weights import read_config
from parity.unpacked import unpacked_weights
from reference.checkpoint import load_pt
from reference.text_tokenizer import TextTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class Reference:
    """The official checkpoint in PyTorch, a component at a time.

    Files are read by the converters' readers where they are not state dicts (YAML, ONNX); ONNX Runtime bears witness
    in the parity stages that those were read rightly.
    """

    def __init__(
        self, checkpoint: Path, replaced: Callable[[str], Mapping[str, np.ndarray]] = lambda component: {}
    ) -> None:
        """`replaced` gives, for a component, tensors by official key that stand in for those of the checkpoint."""
        self.checkpoint, self._replaced = checkpoint, replaced
        self.config = read_model_config(checkpoint)
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
        source = open_source(self.checkpoint, name)
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
            "llm": lambda: load_pt(reference.llm.build(config), self.checkpoint / "llm.pt"),
            "flow": lambda: load_pt(reference.flow.build(config), self.checkpoint / "flow.pt"),
            "hift": lambda: load_pt(reference.hift.build(config), self.checkpoint / "hift.pt", "generator."),
            "campplus": lambda: self._from_onnx(
                reference.campplus.build(config), onnx_weights.read_campplus(self.checkpoint / "campplus.onnx")
            ),
            "speech_tokenizer": lambda: self._from_onnx(
                reference.speech_tokenizer.build(config),
                onnx_weights.read_speech_tokenizer(self.checkpoint / "speech_tokenizer_v2.onnx")[0],
            ),
        }
        return loaders[name]()

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


def load_pair(checkpoint: str | Path, model: str | Path) -> Pair:
    """Load the official checkpoint folder and the MLX model folder converted from it, in the dtypes that it holds."""
    folder = find_model(model)
    original = Reference(Path(checkpoint))
    _, meta = read_config(folder)
    if meta["quantization"] is None:
        return Pair(original, CosyVoice2.load(folder, dtype=None), original)
    packed = Reference(Path(checkpoint), lambda component: unpacked_weights(folder, component))
    return Pair(packed, CosyVoice2.load(folder, dtype=None), original)
