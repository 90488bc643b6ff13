"""Whether the sizes in config.json can be those of the stored weights, known before any network is built."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import reduce
from math import prod
from typing import Any

from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.config_fields import FieldError


def _layers(config: CosyVoice2Config) -> dict[str, tuple[int, str]]:
    """Field -> how many layers it makes, and the pattern that the keys of these match, with one group for each."""
    estimator, hift = config.flow.decoder.estimator, config.hift
    blocks = {
        f"campplus.num_layers[{index}]": (count, rf"campplus\.xvector\.block{index + 1}\.tdnnd(\d+)\.")
        for index, count in enumerate(config.campplus.num_layers)
    }
    return {
        "llm.qwen.num_hidden_layers": (config.llm.qwen.num_hidden_layers, r"llm\.llm\.model\.model\.layers\.(\d+)\."),
        "flow.encoder.num_blocks": (config.flow.encoder.num_blocks, r"flow\.encoder\.encoders\.(\d+)\."),
        "flow.decoder.estimator.num_mid_blocks": (
            estimator.num_mid_blocks,
            r"flow\.decoder\.estimator\.mid_blocks\.(\d+)\.",
        ),
        "flow.decoder.estimator.n_blocks": (
            estimator.n_blocks,
            r"flow\.decoder\.estimator\.mid_blocks\.\d+\.1\.(\d+)\.",
        ),
        "hift.upsample_rates": (len(hift.upsample_rates), r"hift\.ups\.(\d+)\."),
        "hift.resblock_kernel_sizes": (
            len(hift.upsample_rates) * len(hift.resblock_kernel_sizes),
            r"hift\.resblocks\.(\d+)\.",
        ),
        **blocks,
        "speech_tokenizer.n_audio_layer": (
            config.speech_tokenizer.n_audio_layer,
            r"speech_tokenizer\.encoder\.blocks\.(\d+)\.",
        ),
    }


def check_counts(config: CosyVoice2Config, components: Collection[str], keys: Collection[str]) -> None:
    """Refuse a configuration with more layers than the weights have: each costs time and memory to build.

    Args:
        config: what config.json says.
        components: those that will be built.
        keys: the names of all weights.

    Raises:
        FieldError: the field and both counts are told.
    """
    for field, (count, pattern) in _layers(config).items():
        if field.split(".")[0] in components:
            held = len({match[1] for match in map(re.compile(pattern).match, keys) if match})
            if count > held:
                raise FieldError(f"{field}: makes {count} layers, but the weights have {held}")


#: Component -> fields that must be equal, or lists of the same length.
_EQUAL = {
    "llm": [("llm.llm_input_size", "llm.qwen.hidden_size"), ("llm.llm_output_size", "llm.qwen.hidden_size")],
    "flow": [
        ("token_frame_rate", "flow.input_frame_rate"),
        ("token_mel_ratio", "flow.token_mel_ratio"),
        ("flow.output_size", "flow.decoder.estimator.out_channels"),
    ],
    "hift": [
        ("sample_rate", "hift.sampling_rate"),
        ("hift.in_channels", "hift.f0_predictor.in_channels"),
        ("hift.upsample_rates", "hift.upsample_kernel_sizes"),
        ("hift.upsample_rates", "hift.source_resblock_kernel_sizes"),
        ("hift.upsample_rates", "hift.source_resblock_dilation_sizes"),
        ("hift.resblock_kernel_sizes", "hift.resblock_dilation_sizes"),
    ],
}
#: Component -> fields of which the first must be a multiple of the second.
_MULTIPLES = {
    "llm": [
        ("llm.qwen.hidden_size", "llm.qwen.num_attention_heads"),
        ("llm.qwen.num_attention_heads", "llm.qwen.num_key_value_heads"),
    ],
    "flow": [("flow.encoder.output_size", "flow.encoder.attention_heads")],
    "hift": [("hift.istft_params.n_fft", "hift.istft_params.hop_len")],
    "speech_tokenizer": [("speech_tokenizer.n_audio_state", "speech_tokenizer.n_audio_head")],
}


def check_agreement(config: CosyVoice2Config, components: Collection[str]) -> None:
    """Refuse sizes that contradict one another, so that networks could be built but not used.

    Raises:
        FieldError: the fields and their values are told.
    """
    for component in components:
        for one, other in _EQUAL.get(component, []):
            first, second = _value(config, one), _value(config, other)
            if first != second:
                raise FieldError(f"{one}, {other}: must agree, not be {first} and {second}")
        for one, other in _MULTIPLES.get(component, []):
            first, second = _value(config, one), _value(config, other)
            if first % second:
                raise FieldError(f"{one}, {other}: {first} must be a multiple of {second}")
    frames = config.token_frame_rate * config.token_mel_ratio
    samples = prod(config.hift.upsample_rates) * config.hift.istft_params.hop_len
    if "hift" in components and config.sample_rate != frames * samples:
        raise FieldError(
            f"hift.upsample_rates: {frames} frames of {samples} samples a second are not sample_rate, "
            f"{config.sample_rate}"
        )
    if {"llm", "flow"} <= set(components) and config.flow.vocab_size < config.llm.speech_token_size:
        raise FieldError(
            f"llm.speech_token_size: must not be larger than flow.vocab_size, {config.flow.vocab_size}, but is "
            f"{config.llm.speech_token_size}"
        )


def _value(config: CosyVoice2Config, path: str) -> int:
    """A number of the configuration; of a list, how many items it has."""
    value: Any = reduce(getattr, path.split("."), config)
    return len(value) if isinstance(value, tuple) else int(value)
