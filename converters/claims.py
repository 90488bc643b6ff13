"""Compares the sizes that a configuration claims with those that the weights have, before any layer is built.

A claim that is not true would otherwise cost the memory and the time of the network that it describes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.quoting import quoted

#: Layers that may be built of a component that has none of them; the check of its keys then names what is missing.
MAX_UNCHECKED = 32

#: Component -> field that counts layers, and what stands before their numbers.
COUNTS = {
    "llm": (("llm.qwen.num_hidden_layers", "llm.model.model.layers."),),
    "flow": (
        ("flow.encoder.num_blocks", "encoder.encoders."),
        ("flow.decoder.estimator.num_mid_blocks", "decoder.estimator.mid_blocks."),
        ("flow.decoder.estimator.n_blocks", "decoder.estimator.mid_blocks.0.1."),
    ),
    "hift": (("hift.upsample_rates", "ups."), ("hift.resblock_dilation_sizes.0", "resblocks.0.convs1.")),
}


def _llm(config: CosyVoice2Config) -> dict[str, tuple[int, ...]]:
    qwen, llm = config.llm.qwen, config.llm
    return {
        "llm.model.model.embed_tokens.weight": (qwen.vocab_size, qwen.hidden_size),
        "llm.model.model.layers.0.mlp.gate_proj.weight": (qwen.intermediate_size, qwen.hidden_size),
        "llm_decoder.weight": (llm.speech_token_size + 3, llm.llm_output_size),
    }


def _flow(config: CosyVoice2Config) -> dict[str, tuple[int, ...]]:
    flow, encoder, estimator = config.flow, config.flow.encoder, config.flow.decoder.estimator
    width = estimator.channels[0]
    return {
        "input_embedding.weight": (flow.vocab_size, flow.input_size),
        "spk_embed_affine_layer.weight": (flow.output_size, flow.spk_embed_dim),
        "encoder.embed.out.0.weight": (encoder.output_size, encoder.input_size),
        "encoder.encoders.0.feed_forward.w_1.weight": (encoder.linear_units, encoder.output_size),
        "encoder.pre_lookahead_layer.conv1.weight": (
            encoder.output_size,
            encoder.output_size,
            flow.pre_lookahead_len + 1,
        ),
        "decoder.estimator.time_mlp.linear_1.weight": (4 * width, estimator.in_channels),
        "decoder.estimator.mid_blocks.0.1.0.attn1.to_q.weight": (
            estimator.num_heads * estimator.attention_head_dim,
            width,
        ),
        "decoder.estimator.final_proj.weight": (estimator.out_channels, width, 1),
    }


def _hift(config: CosyVoice2Config) -> dict[str, tuple[int, ...]]:
    hift = config.hift
    last = hift.base_channels // 2 ** len(hift.upsample_rates)
    weight = "parametrizations.weight.original1"
    return {
        f"conv_post.{weight}": (hift.istft_params.n_fft + 2, last, 7),
        f"conv_pre.{weight}": (hift.base_channels, hift.in_channels, 7),
        f"f0_predictor.condnet.0.{weight}": (hift.f0_predictor.cond_channels, hift.f0_predictor.in_channels, 3),
        "f0_predictor.classifier.weight": (hift.f0_predictor.num_class, hift.f0_predictor.cond_channels),
        "m_source.l_linear.weight": (1, hift.nb_harmonics + 1),
    }


SHAPES: dict[str, Callable[[CosyVoice2Config], dict[str, tuple[int, ...]]]] = {
    "llm": _llm,
    "flow": _flow,
    "hift": _hift,
}


def check_claims(
    component: str, config: CosyVoice2Config, tensors: Mapping[str, Any], where: str, weights: Path
) -> None:
    """Refuse a configuration that does not fit the weights; what the weights lack is left to the check of their keys.

    Args:
        component: which one.
        config: of the whole network.
        tensors: official key -> anything with a `shape`.
        where: the configuration's files, for messages.
        weights: the weights' file, for messages.

    Raises:
        ConfigError: a count of layers that is not that of the weights, or a shape larger than theirs; field, key and
            files are named.
    """
    for field, prefix in COUNTS.get(component, ()):
        claimed, found = _claimed(config, field), _numbers(tensors, prefix)
        if claimed != found and (found or claimed > MAX_UNCHECKED):
            raise ConfigError(
                f"{where}: {field} makes {claimed} layers {prefix}N, but {weights.name} has {found}. "
                "Do the files belong together?"
            )
    shapes = SHAPES[component](config) if component in SHAPES else {}
    for key, shape in shapes.items():
        # What claims less costs nothing; it is found when the tensors are made.
        if key in tensors and any(a > b for a, b in zip_longest(shape, tensors[key].shape, fillvalue=0)):
            raise ConfigError(
                f"{weights}: wrong shape: {key} {quoted(list(tensors[key].shape))} instead of {list(shape)}, "
                f"which is what {where} says. Do the files belong together?"
            )


def _claimed(config: CosyVoice2Config, field: str) -> int:
    value: Any = config
    for name in field.split("."):
        value = value[int(name)] if name.isdecimal() else getattr(value, name)
    return value if isinstance(value, int) else len(value)


def _numbers(tensors: Mapping[str, Any], prefix: str) -> int:
    """How many different numbers follow the prefix."""
    return len({key[len(prefix) :].split(".", 1)[0] for key in tensors if key.startswith(prefix)})
