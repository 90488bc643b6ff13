"""Builds the components of a model folder and fills them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_cosyvoice.config import CosyVoice2Config, FieldError
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.llm import Qwen2LM
from mlx_cosyvoice.nn.functional import on_cpu
from mlx_cosyvoice.plausible import check_agreement, check_counts
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_cosyvoice.voices import read_spk2info_safetensors
from mlx_cosyvoice.weights import CONFIG, DTYPES, ModelFolderError, StoredModel

AUTO = "auto"


def computing_dtype(dtype: str | None = AUTO) -> str | None:
    """The dtype that networks are to compute in, None meaning that which the folder holds.

    "auto" is float32 on the CPU, which has no arithmetic of its own for 16-bit or packed numbers: MLX takes several
    times as long there for the same matrix product. On every other device it is what the folder holds.

    Raises:
        ValueError: `dtype` is not known.
    """
    if dtype == AUTO:
        return "float32" if on_cpu() else None
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be {AUTO}, one of {', '.join(DTYPES)}, or None (as stored), not {dtype!r}")
    return dtype


def load_components(
    folder: Path, dtype: str | None = AUTO
) -> tuple[CosyVoice2Config, dict[str, Any], dict[str, str], dict[str, str]]:
    """Everything that a model folder holds.

    Args:
        folder: of the model.
        dtype: as for `computing_dtype`. Weights are cast and unpacked one by one, when they are first used.

    Returns:
        The config; name -> network, and "text_tokenizer" and "speakers" where the folder has them; name -> dtype that
        it computes in; name -> dtype that the folder holds.

    Raises:
        ModelFolderError: the folder is not a complete converted model; the file or key is named.
        ValueError: `dtype` is not known.
    """
    computing = computing_dtype(dtype)
    stored = StoredModel.open(folder)
    config, names = stored.config, stored.meta["components"]
    _check_config(stored)
    builders: dict[str, Any] = {
        "llm": lambda: Qwen2LM(config.llm),
        "flow": lambda: CausalMaskedDiffWithXvec(config.flow),
        "hift": lambda: HiFTGenerator(config.hift),
        "campplus": lambda: CAMPPlus(config.campplus),
        "speech_tokenizer": lambda: S3TokenizerV2(config.speech_tokenizer),
    }
    components = {name: stored.fill(_built(stored, builders[name]), name, dtype=computing) for name in names}
    components |= _read_beside(folder, config, names)
    dtypes: dict[str, str] = dict(stored.meta["dtypes"])
    return config, components, {name: computing or dtypes[name] for name in dtypes}, dtypes


def _built(stored: StoredModel, build: Callable[[], Any]) -> Any:
    """A network without weights. It refuses sizes that it cannot have."""
    try:
        return build()
    except ValueError as error:
        raise ModelFolderError(f"{stored.folder / CONFIG}: {error}. Convert or download the model again.") from error


def _check_config(stored: StoredModel) -> None:
    names = stored.meta["components"]
    try:
        check_counts(stored.config, names, stored.weights)
        check_agreement(stored.config, names)
    except FieldError as error:
        raise ModelFolderError(f"{stored.folder / CONFIG}: {error}. Convert or download the model again.") from error


def _read_beside(folder: Path, config: CosyVoice2Config, names: list[str]) -> dict[str, Any]:
    """What a model folder may hold besides networks."""
    found: dict[str, Any] = {}
    tokenizer, speakers = folder / "tokenizer.json", folder / "spk2info.safetensors"
    try:
        # A link to nowhere is not taken for a folder without the file.
        if os.path.lexists(tokenizer):
            found["text_tokenizer"] = TextTokenizer.from_file(tokenizer)
        if os.path.lexists(speakers):
            found["speakers"] = read_spk2info_safetensors(speakers)
    except ValueError as error:
        raise ModelFolderError(str(error)) from error
    rows = config.llm.qwen.vocab_size
    if "llm" in names and len(found.get("text_tokenizer", ())) > rows:
        raise ModelFolderError(
            f"{tokenizer}: has {len(found['text_tokenizer'])} tokens, but llm.qwen.vocab_size in {CONFIG} is {rows}. "
            "Convert or download the model again."
        )
    return found
