"""One architecture twice: transformers' PyTorch model and mlx-lm's, with the same random weights.

The weights take the way that a published checkpoint takes: transformers writes a folder, mlx-lm loads it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn
import torch
import transformers
from mlx_lm.utils import load_model
from safetensors.torch import load_file, save_file

from .architectures import ARCHITECTURES
from .layouts import TRANSFORMERS_TYPES, as_mlx_lm_reads
from .weights import randomise


class BuildError(RuntimeError):
    """One side could not be made: `name` of the architecture, `side` (transformers or mlx-lm), and what it raised."""

    def __init__(self, name: str, side: str, cause: Exception) -> None:
        super().__init__(f"{name}: {side} cannot build it: {type(cause).__name__}: {cause}")
        self.name, self.side, self.cause = name, side, cause


@dataclass(frozen=True)
class Built:
    """A pair of models with equal weights, both float32 and in inference mode.

    `config` is what the checkpoint's config.json held: what transformers writes, and the architecture's declaration in
    the spelling of published checkpoints on top of it.
    """

    name: str
    torch_model: transformers.PreTrainedModel
    mlx_model: mlx.nn.Module
    config: dict[str, Any]


def build(name: str, seed: int = 0) -> Built:
    """Build the architecture `name` on both sides.

    Raises:
        KeyError: no such architecture is declared.
        BuildError: a side refuses its configuration or its weights; the cause is the library's own exception.
    """
    return build_config(name, ARCHITECTURES[name], seed)


def build_config(name: str, declared: Mapping[str, Any], seed: int = 0) -> Built:
    """Build any configuration in the spelling of a published config.json; `name` is only for messages."""
    try:
        torch_model = build_torch(declared, seed)
    except Exception as error:
        raise BuildError(name, "transformers", error) from error
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        try:
            config = write_checkpoint(torch_model, declared, Path(folder))
        except Exception as error:
            raise BuildError(name, "transformers", error) from error
        try:
            mlx_model, _ = load_model(Path(folder))
        except Exception as error:
            raise BuildError(name, "mlx-lm", error) from error
    mlx_model.eval()
    return Built(name, torch_model, mlx_model, config)


def build_torch(declared: Mapping[str, Any], seed: int) -> transformers.PreTrainedModel:
    """Build transformers' model in float32 with eager attention; a fixed `seed` gives fixed weights.

    Of a multimodal configuration it is the text model alone, where transformers has it as a model of its own.
    """
    options = json.loads(json.dumps(declared))  # configuration classes change nested tables in place
    if "vision_config" not in options:
        options = options.get("text_config", options)
    model_type = options.pop("model_type")
    config = transformers.AutoConfig.for_model(TRANSFORMERS_TYPES.get(model_type, model_type), **options)
    config.dtype = torch.float32
    text_only = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    auto: Any = transformers.AutoModelForCausalLM if text_only else transformers.AutoModelForImageTextToText
    torch.manual_seed(seed)
    model = auto.from_config(config, attn_implementation="eager")
    model.set_experts_implementation("eager")  # grouped products have no float64
    randomise(model, seed)
    return model.eval()


def write_checkpoint(model: transformers.PreTrainedModel, declared: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Save `model` as transformers does, then in the layout that mlx-lm reads. Return config.json's content.

    transformers 5 moves keys such as `rope_theta` into tables of its own, where most of mlx-lm does not look for them.
    Published checkpoints keep the older spelling, so the declaration is laid over what transformers writes.
    """
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if "text_config" in declared and "text_config" not in config:
        config = {"text_config": config}
    if "text_config" in declared:
        config["text_config"] |= declared["text_config"]
    config |= {key: value for key, value in declared.items() if key != "text_config"}
    path.write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    save_file(as_mlx_lm_reads(declared["model_type"], config, load_file(weights)), weights, {"format": "pt"})
    return config
