"""`CosyVoice-BlankEN`: the folder of a checkpoint that holds the text tokenizer and the sizes of the language model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from converters.json_file import read_json_object
from mlx_cosyvoice.config import FieldError, Qwen2Config, from_dict
from mlx_cosyvoice.quoting import quoted

BLANK_EN = "CosyVoice-BlankEN"
QWEN_CONFIG = f"{BLANK_EN}/config.json"
TEXT_FILES = (f"{BLANK_EN}/vocab.json", f"{BLANK_EN}/merges.txt", f"{BLANK_EN}/tokenizer_config.json")

#: What its config.json may say besides the sizes; the network has nothing for other values.
QWEN_DEFAULTS = {"hidden_act": "silu", "use_sliding_window": False, "rope_scaling": None, "model_type": "qwen2"}


def read_qwen_config(path: str | Path) -> dict[str, Any]:
    """`CosyVoice-BlankEN/config.json`, checked for what the MLX network supports.

    Raises:
        ConfigError: no such file, not JSON, a size is missing, or a value is not supported; named.
    """
    path = Path(path)
    content = read_json_object(path, ConfigError)
    for name, expected in QWEN_DEFAULTS.items():
        if content.get(name, expected) != expected:
            raise ConfigError(f"{path}: {name}: {quoted(content[name])} is not supported, only {expected!r}")
    for entry in dataclasses.fields(Qwen2Config):
        if entry.name not in content:
            raise ConfigError(f"{path}: {entry.name}: missing")
    try:
        config = from_dict(Qwen2Config, content)
    except FieldError as error:
        raise ConfigError(f"{path}: {error}") from error
    heads, head_dim = config.num_attention_heads, content.get("head_dim")
    if (
        config.hidden_size % heads
        or heads % config.num_key_value_heads
        or head_dim not in (None, config.hidden_size // heads)
    ):
        raise ConfigError(
            f"{path}: hidden_size {config.hidden_size}, num_attention_heads {heads}, num_key_value_heads "
            f"{config.num_key_value_heads} and head_dim {quoted(head_dim)} do not fit each other"
        )
    return dataclasses.asdict(config)
