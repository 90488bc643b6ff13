"""The sizes and constants of a CosyVoice2 model.

Field names are the official ones (cosyvoice2.yaml); the defaults are CosyVoice2-0.5B.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

#: Raised when what `config.json` means changes. A model folder of a higher version is refused.
FORMAT_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class SamplingConfig:
    """Repetition-aware sampling (VALL-E 2), `cosyvoice.utils.common.ras_sampling`."""

    top_p: float = 0.8
    top_k: int = 25
    win_size: int = 10
    tau_r: float = 0.1


@dataclass(frozen=True)
class Qwen2Config:
    """The Qwen2 backbone: `CosyVoice-BlankEN/config.json`."""

    hidden_size: int = 896
    intermediate_size: int = 4864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int = 2
    vocab_size: int = 151936
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 32768


@dataclass(frozen=True)
class LLMConfig:
    """`cosyvoice.llm.llm.Qwen2LM`: text tokens in, speech tokens out."""

    llm_input_size: int = 896
    llm_output_size: int = 896
    speech_token_size: int = 6561
    mix_ratio: tuple[int, ...] = (5, 15)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    qwen: Qwen2Config = field(default_factory=Qwen2Config)


@dataclass(frozen=True)
class EncoderConfig:
    """`cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder`."""

    input_size: int = 512
    output_size: int = 512
    attention_heads: int = 8
    linear_units: int = 2048
    num_blocks: int = 6
    static_chunk_size: int = 25


@dataclass(frozen=True)
class EstimatorConfig:
    """`cosyvoice.flow.decoder.CausalConditionalDecoder`."""

    in_channels: int = 320
    out_channels: int = 80
    channels: tuple[int, ...] = (256,)
    attention_head_dim: int = 64
    n_blocks: int = 4
    num_mid_blocks: int = 12
    num_heads: int = 8
    static_chunk_size: int = 50
    num_decoding_left_chunks: int = -1


@dataclass(frozen=True)
class CFMConfig:
    """`cosyvoice.flow.flow_matching.CausalConditionalCFM`: Euler solver, cosine time, classifier-free guidance."""

    in_channels: int = 240
    spk_emb_dim: int = 80
    inference_cfg_rate: float = 0.7
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


@dataclass(frozen=True)
class FlowConfig:
    """`cosyvoice.flow.flow.CausalMaskedDiffWithXvec`: speech tokens to mel."""

    input_size: int = 512
    output_size: int = 80
    spk_embed_dim: int = 192
    vocab_size: int = 6561
    input_frame_rate: int = 25
    token_mel_ratio: int = 2
    pre_lookahead_len: int = 3
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: CFMConfig = field(default_factory=CFMConfig)


@dataclass(frozen=True)
class F0PredictorConfig:
    """`cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor`."""

    num_class: int = 1
    in_channels: int = 80
    cond_channels: int = 512


@dataclass(frozen=True)
class ISTFTConfig:
    """The inverse transform that ends the vocoder, in samples."""

    n_fft: int = 16
    hop_len: int = 4


@dataclass(frozen=True)
class HiFTConfig:
    """`cosyvoice.hifigan.generator.HiFTGenerator`: mel to waveform."""

    in_channels: int = 80
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = 24000
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernel_sizes: tuple[int, ...] = (16, 11, 7)
    istft_params: ISTFTConfig = field(default_factory=ISTFTConfig)
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 7, 11)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    f0_predictor: F0PredictorConfig = field(default_factory=F0PredictorConfig)


@dataclass(frozen=True)
class SpeakerEncoderConfig:
    """CAM++ (`speakerlab.models.campplus.DTDNN.CAMPPlus`): Kaldi fbank to speaker embedding."""

    feat_dim: int = 80
    embedding_size: int = 192
    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128
    num_layers: tuple[int, ...] = (12, 24, 16)


@dataclass(frozen=True)
class SpeechTokenizerConfig:
    """S3TokenizerV2: 16 kHz log mel to 25 tokens a second. `attn_ln_eps` and the heads are read from the ONNX graph."""

    n_mels: int = 128
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 6
    attn_ln_eps: float = 1e-6
    mlp_ln_eps: float = 1e-5


@dataclass(frozen=True)
class CosyVoice2Config:
    """Everything that `config.json` of a model folder says about the network."""

    sample_rate: int = 24000
    token_frame_rate: int = 25
    token_mel_ratio: int = 2
    llm: LLMConfig = field(default_factory=LLMConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    hift: HiFTConfig = field(default_factory=HiFTConfig)
    campplus: SpeakerEncoderConfig = field(default_factory=SpeakerEncoderConfig)
    speech_tokenizer: SpeechTokenizerConfig = field(default_factory=SpeechTokenizerConfig)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, (list, tuple)) else value


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """Build the frozen dataclass `cls` from nested mappings; keys it does not know are dropped.

    Raises:
        TypeError: a value whose type cannot be the field's, named with the field.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        if entry.name not in data:
            continue
        value, hint = data[entry.name], hints[entry.name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise TypeError(f"{cls.__name__}.{entry.name} must be a mapping, not {value!r}")
            values[entry.name] = from_dict(typing.cast(type, hint), value)
            continue
        value = _as_tuple(value)
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected = tuple if isinstance(hint, types.GenericAlias) else hint
        if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
            raise TypeError(f"{cls.__name__}.{entry.name} must be of type {expected.__name__}, not {value!r}")
        values[entry.name] = value
    return cls(**values)
