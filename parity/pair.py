"""The two models under comparison: the reference on the official checkpoint, and the converted MLX model."""

from __future__ import annotations

import copy
from collections.abc import Callable
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
from mlx_cosyvoice.model import CosyVoice2
from reference.checkpoint import load_pt
from reference.text_tokenizer import TextTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class Reference:
    """The official checkpoint in PyTorch, a component at a time.

    Files are read by the converters' readers where they are not state dicts (YAML, ONNX); ONNX Runtime bears witness
    in the parity stages that those were read rightly.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.config = read_model_config(checkpoint)
        self._loaded: dict[str, Any] = {}

    def component(self, name: str, dtype: torch.dtype) -> Any:
        """The component's module in `dtype`. The last one asked for is kept, so that memory holds one at a time."""
        if name == "text_tokenizer":
            return TextTokenizer(self.checkpoint / "CosyVoice-BlankEN")
        if name not in self._loaded:
            self._loaded = {name: self._load(name)}
        module = self._loaded[name]
        return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)

    def official_tensor(self, name: str) -> Callable[[str], np.ndarray]:
        """Official key of the component -> its tensor as the checkpoint holds it, in float32."""
        source = open_source(self.checkpoint, name)
        extra = (
            {"decoder.rand_noise": self.component("flow", torch.float32).decoder.rand_noise} if name == "flow" else {}
        )
        return lambda key: extra[key].numpy() if key in extra else source.fetch(key)

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
    """Both sides. `model` is live: change it before a run to see what the harness says."""

    reference: Reference
    model: CosyVoice2

    def dtype(self, component: str) -> str:
        """The working dtype of a component of the MLX model; the reference is run in the same."""
        return self.model.dtypes.get(component, "float32")


def load_pair(checkpoint: str | Path, model: str | Path) -> Pair:
    """Load the official checkpoint folder and the MLX model folder converted from it."""
    return Pair(Reference(Path(checkpoint)), CosyVoice2.load(model))
