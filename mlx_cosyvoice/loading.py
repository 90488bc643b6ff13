"""Builds the components of a model folder and fills them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.llm import Qwen2LM
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_cosyvoice.voices import read_spk2info_safetensors
from mlx_cosyvoice.weights import load_component, read_config


def load_components(folder: Path) -> tuple[CosyVoice2Config, dict[str, Any], dict[str, str]]:
    """Everything that a model folder holds.

    Returns:
        The config; name -> network, and "text_tokenizer" and "speakers" where the folder has them; name -> dtype.

    Raises:
        ModelFolderError: the folder is not a complete converted model; the file or key is named.
    """
    config, meta = read_config(folder)
    builders: dict[str, Any] = {
        "llm": lambda: Qwen2LM(config.llm),
        "flow": lambda: CausalMaskedDiffWithXvec(config.flow),
        "hift": lambda: HiFTGenerator(config.hift),
        "campplus": lambda: CAMPPlus(config.campplus),
        "speech_tokenizer": lambda: S3TokenizerV2(config.speech_tokenizer),
    }
    components = {name: load_component(builders[name](), folder, name) for name in meta["components"]}
    if (folder / "tokenizer.json").exists():
        components["text_tokenizer"] = TextTokenizer.from_file(folder / "tokenizer.json")
    if (folder / "spk2info.safetensors").exists():
        components["speakers"] = read_spk2info_safetensors(folder / "spk2info.safetensors")
    return config, components, dict(meta["dtypes"])
