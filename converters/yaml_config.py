"""From `cosyvoice2.yaml`, the language model's config.json and the ONNX graphs to the sizes of the MLX network.

What the MLX network does not support is refused by name: a converted model that computes something else than the
official one would be worse than none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from converters.errors import ConfigError
from converters.json_file import read_json_object
from converters.yaml_reader import read_yaml
from converters.yaml_schema import MEL, ROOT, SchemaReader
from mlx_cosyvoice.config import (
    CosyVoice2Config,
    FieldError,
    FlowConfig,
    HiFTConfig,
    LLMConfig,
    Qwen2Config,
    SpeakerEncoderConfig,
    SpeechTokenizerConfig,
    from_dict,
)
from mlx_cosyvoice.quoting import quoted

__all__ = ["ConfigError", "model_config", "read_qwen_config", "read_yaml"]

T = TypeVar("T")

#: What CosyVoice-BlankEN/config.json may say besides the sizes; the network has nothing for other values.
QWEN_DEFAULTS = {"hidden_act": "silu", "use_sliding_window": False, "rope_scaling": None, "model_type": "qwen2"}


def _build(cls: type[T], values: Mapping[str, Any], where: Path, key: str) -> T:
    """The dataclass, its values held to what its fields allow."""
    try:
        return from_dict(cls, values, key)
    except FieldError as error:
        raise ConfigError(f"{where}: {error}") from error


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
    config = _build(Qwen2Config, content, path, "")
    heads, head_dim = config.num_attention_heads, content.get("head_dim")
    if (
        config.hidden_size % heads
        or heads % config.num_key_value_heads
        or head_dim
        not in (
            None,
            config.hidden_size // heads,
        )
    ):
        raise ConfigError(
            f"{path}: hidden_size {config.hidden_size}, num_attention_heads {heads}, num_key_value_heads "
            f"{config.num_key_value_heads} and head_dim {quoted(head_dim)} do not fit each other"
        )
    return dataclasses.asdict(config)


def model_config(
    content: Mapping[str, Any],
    qwen: Mapping[str, Any] | None,
    speech_tokenizer: Mapping[str, Any] | None,
    campplus: Mapping[str, Any] | None,
    *,
    where: str | Path = "cosyvoice2.yaml",
) -> CosyVoice2Config:
    """The sizes of the whole network.

    Args:
        content: from `read_yaml`.
        qwen: from `read_qwen_config`; None leaves the default, for who does not convert the language model.
        speech_tokenizer: fields of its config, read from the ONNX graph; None as above.
        campplus: fields of the speaker encoder's config; None as above.
        where: the YAML file, for messages.

    Raises:
        ConfigError: a value or key that the MLX network does not support, or sizes that do not fit each other; file,
            key and value are named.
    """
    where = Path(where)
    values = SchemaReader(where).read(ROOT, content, "")
    decoder, llm = values["flow"]["decoder"], values["llm"]
    decoder["inference_cfg_rate"] = decoder["cfm_params"]["content"]["inference_cfg_rate"]
    if qwen is not None:
        llm["qwen"] = dict(qwen)
    config = CosyVoice2Config(
        sample_rate=values["sample_rate"],
        token_frame_rate=values["token_frame_rate"],
        token_mel_ratio=values["token_mel_ratio"],
        llm=_build(LLMConfig, llm, where, "llm"),
        flow=_build(FlowConfig, values["flow"], where, "flow"),
        hift=_build(HiFTConfig, values["hift"], where, "hift"),
        campplus=_build(SpeakerEncoderConfig, campplus or {}, where, "campplus"),
        speech_tokenizer=_build(SpeechTokenizerConfig, speech_tokenizer or {}, where, "speech_tokenizer"),
    )
    _check_fit(config, where, qwen is not None, campplus is not None)
    return config


def _check_fit(config: CosyVoice2Config, where: Path, with_qwen: bool, with_campplus: bool) -> None:
    """Sizes that meet must agree, or one stage could not take what the other gives."""
    pairs = [
        ("flow.output_size", config.flow.output_size, "feat_extractor.num_mels", MEL["num_mels"]),
        (
            "flow.decoder.estimator.out_channels",
            config.flow.decoder.estimator.out_channels,
            "flow.output_size",
            config.flow.output_size,
        ),
        ("llm.speech_token_size", config.llm.speech_token_size, "flow.vocab_size", config.flow.vocab_size),
        ("flow.output_size", config.flow.output_size, "hift.in_channels", config.hift.in_channels),
        ("llm.llm_input_size", config.llm.llm_input_size, "llm.llm_output_size", config.llm.llm_output_size),
        (
            "flow.decoder.estimator.static_chunk_size",
            config.flow.decoder.estimator.static_chunk_size,
            "flow.encoder.static_chunk_size * token_mel_ratio",
            config.flow.encoder.static_chunk_size * config.token_mel_ratio,
        ),
    ]
    if with_qwen:
        size = config.llm.qwen.hidden_size
        pairs.append(("llm.llm_input_size", config.llm.llm_input_size, "CosyVoice-BlankEN hidden_size", size))
    if with_campplus:
        size = config.campplus.embedding_size
        pairs.append(("flow.spk_embed_dim", config.flow.spk_embed_dim, "the speaker encoder's embedding_size", size))
    for name, value, other_name, other in pairs:
        if value != other:
            raise ConfigError(f"{where}: {name} is {value}, but {other_name} is {other}; they must be equal")
