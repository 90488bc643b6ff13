"""The sizes and constants of a checkpoint as its own files say them, read with other code than the converters have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference.onnx_file import OnnxFile
from reference.yaml_nodes import YamlNodes

if TYPE_CHECKING:
    from reference.families import Family

QWEN_CONFIG = "CosyVoice-BlankEN/config.json"


class _Unsaid:
    """Stands for a value that every file must say."""


@dataclass(frozen=True)
class Said:
    """Where a file says a value.

    Attributes:
        path: of it in the file.
        file: "" for the YAML of the family.
        early: what the official code had where the YAML of the first publication does not say it.
    """

    path: str
    file: str = ""
    early: Any = _Unsaid

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.file else self.path


def alike(prefix: str, *names: str) -> dict[str, Said]:
    """Fields that the YAML has under their own names, within `prefix`."""
    return {name: Said(f"{prefix}.{name}" if prefix else name) for name in names}


#: Those of the whole model.
SHARED = {
    "sample_rate": Said("sample_rate"),
    "token_frame_rate": Said("token_frame_rate", early=25),
    "token_mel_ratio": Said("token_mel_ratio", early=2),
    **{
        f"mel.{name}": Said(f"feat_extractor.{name}")
        for name in ("n_fft", "num_mels", "sampling_rate", "hop_size", "fmin")
    },
}

_QWEN = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "rope_theta", "rms_norm_eps", "max_position_embeddings"),
)

LLM = {
    **alike("llm", "llm_input_size", "llm_output_size", "speech_token_size"),
    "mix_ratio": Said("llm.mix_ratio", early=[5, 15]),
    **alike("llm", *(f"sampling.{name}" for name in ("top_p", "top_k", "win_size", "tau_r"))),
    **{f"qwen.{name}": Said(name, QWEN_CONFIG) for name in _QWEN},
}

_ENCODER = ("input_size", "output_size", "attention_heads", "linear_units", "num_blocks")
_ESTIMATOR = (
    "in_channels",
    "out_channels",
    "channels",
    "attention_head_dim",
    "n_blocks",
    "num_mid_blocks",
    "num_heads",
)

_STAGE = {
    **alike("flow", "input_size", "output_size", "spk_embed_dim", "vocab_size", "pre_lookahead_len"),
    "input_frame_rate": Said("flow.input_frame_rate", early=25),
    "token_mel_ratio": Said("flow.token_mel_ratio", early=2),
    **alike("flow", "decoder.in_channels", "decoder.spk_emb_dim"),
    "decoder.inference_cfg_rate": Said("flow.decoder.cfm_params.content.inference_cfg_rate"),
}

FLOW = {
    **_STAGE,
    **alike("flow", *(f"encoder.{name}" for name in _ENCODER)),
    "encoder.static_chunk_size": Said("flow.encoder.static_chunk_size", early=25),
    **alike("flow", *(f"decoder.estimator.{name}" for name in _ESTIMATOR)),
    "decoder.estimator.static_chunk_size": Said("flow.decoder.estimator.static_chunk_size", early=50),
    "decoder.estimator.num_decoding_left_chunks": Said("flow.decoder.estimator.num_decoding_left_chunks", early=-1),
}

_DIT = (
    *("dim", "depth", "heads", "dim_head", "ff_mult", "mel_dim", "mu_dim", "spk_dim", "out_channels"),
    *("static_chunk_size", "num_decoding_left_chunks"),
)

FLOW3 = {
    **_STAGE,
    **alike("flow", *(f"pre_lookahead_layer.{name}" for name in ("in_channels", "channels", "pre_lookahead_len"))),
    **alike("flow", *(f"decoder.estimator.{name}" for name in _DIT)),
}

HIFT = alike(
    "hift",
    *("in_channels", "base_channels", "nb_harmonics", "sampling_rate"),
    *("nsf_alpha", "nsf_sigma", "nsf_voiced_threshold", "lrelu_slope", "audio_limit"),
    *("upsample_rates", "upsample_kernel_sizes", "istft_params.n_fft", "istft_params.hop_len"),
    *("resblock_kernel_sizes", "resblock_dilation_sizes"),
    *("source_resblock_kernel_sizes", "source_resblock_dilation_sizes"),
    *("f0_predictor.num_class", "f0_predictor.in_channels", "f0_predictor.cond_channels"),
)

HIFT3 = HIFT | alike("hift", "conv_pre_look_right")


def campplus_sizes(file: OnnxFile) -> dict[str, Any]:
    """The fields of the speaker encoder, which its graph alone says."""
    first = "xvector.block1.tdnnd1"
    growth = file.shape(f"{first}.cam_layer.linear_local")[0]
    return {
        "feat_dim": file.shape("xvector.tdnn.linear")[1] * 8 // file.shape("head.conv2")[0],  # halved three times
        "embedding_size": file.shape("xvector.dense.linear")[0],
        "growth_rate": growth,
        "bn_size": file.shape(f"{first}.linear1")[0] // growth,
        "init_channels": file.shape("xvector.tdnn.linear")[0],
        "num_layers": [file.count(rf"xvector\.block{block}\.tdnnd\d+(?=\.)") for block in (1, 2, 3)],
    }


def speech_tokenizer_sizes(file: OnnxFile) -> dict[str, Any]:
    """The fields of the speech tokenizer; the heads stand in the shape that queries are brought to."""
    width, mels, _ = file.shape("conv1")
    return {
        "n_mels": mels,
        "n_audio_state": width,
        "n_audio_head": file.number("blocks.0.attn", "Concat", 2),
        "n_audio_layer": file.count(r"blocks\.\d+(?=\.)"),
        "attn_ln_eps": file.epsilon("blocks.0.attn_ln"),
        "mlp_ln_eps": file.epsilon("blocks.0.mlp_ln"),
    }


def said_by(family: Family) -> dict[str, Said]:
    """Path of a field in the configuration -> where an official file says it, of a whole family."""
    fields = dict(SHARED)
    for name, network in family.networks.items():
        fields |= {f"{name}.{field}": said for field, said in network.fields.items()}
    return fields


def official_config(family: Family, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The configuration of a family's checkpoint: its shared fields, and those of each network in a dict of its own.

    `mel` are the features of the flow and the vocoder.

    Args:
        family: what it is.
        paths: official name of a file -> where it is.

    Raises:
        OSError: a file cannot be read.
        ValueError: a value is missing, or a file is not what it should be.
    """
    files: dict[str, Callable[[str], Any]] = {"": YamlNodes(paths[family.yaml])}
    config: dict[str, Any] = {}
    for field, said in said_by(family).items():
        if said.file not in files:
            files[said.file] = json.loads(paths[said.file].read_text(encoding="utf-8")).__getitem__
        _put(config, field, _value(files[said.file], said, paths[said.file or family.yaml]))
    config["mel"]["fmax"] = family.mel_fmax
    for name, network in family.networks.items():
        if network.graph is not None:
            config[name] = network.graph.sizes(OnnxFile(paths[network.file]))
    return config


def _value(read: Callable[[str], Any], said: Said, path: Path) -> Any:
    try:
        return read(said.path)
    except KeyError as error:
        if said.early is _Unsaid:
            raise ValueError(f"{path}: {said.path}: missing") from error
        return said.early


def _put(config: dict[str, Any], field: str, value: Any) -> None:
    *outer, last = field.split(".")
    for name in outer:
        config = config.setdefault(name, {})
    config[last] = value
