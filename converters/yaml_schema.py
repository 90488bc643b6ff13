"""What `cosyvoice2.yaml` may say for the MLX network to compute the same, class by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import ConfigError
from converters.yaml_reader import Node
from mlx_cosyvoice.config import (
    CFMConfig,
    EncoderConfig,
    EstimatorConfig,
    F0PredictorConfig,
    FlowConfig,
    HiFTConfig,
    ISTFTConfig,
    LLMConfig,
    SamplingConfig,
)
from mlx_cosyvoice.quoting import plain, quoted


@dataclass(frozen=True)
class Schema:
    """What a node of the YAML may say.

    Attributes:
        target: the official class or function; None for a plain mapping.
        config: the dataclass whose plain fields the node must give.
        elsewhere: fields of `config` that do not stand in this node.
        extra: arguments that the node must give, besides the fields of `config`.
        fixed: argument -> the only supported value; the node must give it.
        default: argument -> the only supported value, which the official code also takes when it is left out.
        ignored: arguments that do not matter at inference.
        children: argument -> its own schema.
    """

    target: str | None = None
    config: type | None = None
    elsewhere: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    default: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    children: Mapping[str, Schema] = field(default_factory=dict)

    def plain(self) -> list[str]:
        """Arguments that the node must give, and whose value is taken over."""
        names = [entry.name for entry in dataclasses.fields(self.config)] if self.config else []
        others = {*self.elsewhere, *self.children}
        return [*(name for name in names if name not in others and name not in self.fixed), *self.extra, *self.fixed]

    def known(self) -> set[str]:
        return {*self.plain(), *self.default, *self.ignored, *self.children}


# The features are fixed too: mlx_cosyvoice.audio computes these.
MEL = {
    "n_fft": 1920,
    "num_mels": 80,
    "sampling_rate": 24000,
    "hop_size": 480,
    "win_size": 1920,
    "fmin": 0,
    "fmax": 8000,
    "center": False,
}

ENCODER = Schema(
    "cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder",
    EncoderConfig,
    fixed={
        "input_layer": "linear",
        "pos_enc_layer_type": "rel_pos_espnet",
        "use_cnn_module": False,
        "macaron_style": False,
    },
    default={
        "selfattention_layer_type": "rel_selfattn",
        "normalize_before": True,
        "activation_type": "swish",
        "key_bias": True,
        "positionwise_conv_kernel_size": 1,
        "use_dynamic_chunk": False,
        "use_dynamic_left_chunk": False,
        "global_cmvn": None,
    },
    ignored=(
        "dropout_rate",
        "positional_dropout_rate",
        "attention_dropout_rate",
        "cnn_module_kernel",
        "cnn_module_norm",
        "causal",  # of the convolution module, which there is not
        "gradient_checkpointing",
    ),
)

ESTIMATOR = Schema(
    "cosyvoice.flow.decoder.CausalConditionalDecoder",
    EstimatorConfig,
    fixed={"act_fn": "gelu", "num_decoding_left_chunks": -1},
    ignored=("dropout",),
)

DECODER = Schema(
    "cosyvoice.flow.flow_matching.CausalConditionalCFM",
    CFMConfig,
    elsewhere=("inference_cfg_rate",),
    default={"n_spks": 1},
    children={
        "cfm_params": Schema(
            "omegaconf.DictConfig",
            children={
                "content": Schema(
                    extra=("inference_cfg_rate",),
                    fixed={"solver": "euler", "t_scheduler": "cosine"},
                    ignored=("sigma_min", "training_cfg_rate", "reg_loss_type"),
                )
            },
        ),
        "estimator": ESTIMATOR,
    },
)

FLOW = Schema(
    "cosyvoice.flow.flow.CausalMaskedDiffWithXvec",
    FlowConfig,
    fixed={"input_frame_rate": 25, "token_mel_ratio": 2},
    default={"output_type": "mel"},
    ignored=("only_mask_loss", "decoder_conf"),
    children={"encoder": ENCODER, "decoder": DECODER},
)

LLM = Schema(
    "cosyvoice.llm.llm.Qwen2LM",
    LLMConfig,
    elsewhere=("qwen",),
    ignored=("length_normalized_loss", "lsm_weight"),
    children={
        "llm": Schema("cosyvoice.llm.llm.Qwen2Encoder", ignored=("pretrain_path",)),
        "sampling": Schema("cosyvoice.utils.common.ras_sampling", SamplingConfig),
    },
)

HIFT = Schema(
    "cosyvoice.hifigan.generator.HiFTGenerator",
    HiFTConfig,
    fixed={"sampling_rate": 24000},
    children={
        "istft_params": Schema(config=ISTFTConfig),
        "f0_predictor": Schema("cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor", F0PredictorConfig),
    },
)

#: The keys of the file that make up the network and its inputs; the others serve training.
ROOT = Schema(
    fixed={"sample_rate": 24000, "token_frame_rate": 25, "token_mel_ratio": 2, "allowed_special": "all"},
    children={
        "llm": LLM,
        "flow": FLOW,
        "hift": HIFT,
        "get_tokenizer": Schema(
            "cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer",
            fixed={"skip_special_tokens": True},
            default={"version": "cosyvoice2"},
            ignored=("token_path",),
        ),
        "feat_extractor": Schema("matcha.utils.audio.mel_spectrogram", fixed=MEL),
    },
)


class SchemaReader:
    """Walks the YAML along a schema."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.where}: {plain(key)}: {problem}")

    def read(self, schema: Schema, value: Any, key: str) -> dict[str, Any]:
        """The arguments that matter, checked; children are nested dicts.

        Raises:
            ConfigError: a key is missing or unknown, or a value is not supported; file, key and value are named.
        """
        prefix = f"{key}." if key else ""
        given = self.arguments(schema, value, key)
        if key:  # the root has keys for training besides
            for name in sorted(given.keys() - schema.known(), key=str):
                raise self.error(
                    f"{prefix}{name}", f"unknown, with the value {quoted(given[name])}; it may change the network"
                )
        for name in (*schema.plain(), *schema.children):
            if name not in given:
                raise self.error(f"{prefix}{name}", "missing")
        for name, expected in {**schema.fixed, **schema.default}.items():
            found = given.get(name, expected)
            if found != expected or isinstance(found, bool) != isinstance(expected, bool):
                raise self.error(f"{prefix}{name}", f"{quoted(found)} is not supported, only {expected!r}")
        result = {name: given[name] for name in schema.plain()}
        for name, child in schema.children.items():
            result[name] = self.read(child, given[name], f"{prefix}{name}")
        return result

    def arguments(self, schema: Schema, value: Any, key: str) -> dict[str, Any]:
        target = value.target if isinstance(value, Node) else None
        if target != schema.target:
            found = quoted(target) if isinstance(value, Node) else f"the plain value {quoted(value)}"
            raise self.error(key, f"{found} is not supported, only {schema.target or 'a plain mapping'}")
        content = value.arguments if isinstance(value, Node) else value
        if not isinstance(content, dict):
            raise self.error(key, f"needs named values, not {quoted(content)}")
        return content
