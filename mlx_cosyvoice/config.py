"""The sizes and constants of a model.

Field names are the official ones (cosyvoice2.yaml, cosyvoice3.yaml); the defaults are CosyVoice2-0.5B, and
Fun-CosyVoice3-0.5B for what that one has of its own. Beside each default stand the
least and the greatest value that a file may give.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from mlx_cosyvoice.config_fields import FieldError as FieldError
from mlx_cosyvoice.config_fields import from_dict as from_dict
from mlx_cosyvoice.config_fields import real, whole, wholes

#: Raised when what `config.json` means changes. A model folder of a higher version is refused.
FORMAT_VERSION = 1

# What a file may claim at most. How much of it there is, the weights tell.
MAX_WIDTH = 1 << 17
MAX_LAYERS = 512
MAX_HEADS = 1024
MAX_TOKENS = 10_000_000
EPS = (1e-12, 1e-2)
RATES = (8000, 192_000)


@dataclass(frozen=True)
class SamplingConfig:
    """Repetition-aware sampling (VALL-E 2), `cosyvoice.utils.common.ras_sampling`."""

    top_p: float = real(0.8, 1e-6, 1)
    top_k: int = whole(25, 1, 1_000_000)
    win_size: int = whole(10, 1, 100_000)
    tau_r: float = real(0.1, 0, 100)


@dataclass(frozen=True)
class Qwen2Config:
    """The Qwen2 backbone: `CosyVoice-BlankEN/config.json`."""

    hidden_size: int = whole(896, 1, MAX_WIDTH)
    intermediate_size: int = whole(4864, 1, MAX_WIDTH)
    num_hidden_layers: int = whole(24, 1, MAX_LAYERS)
    num_attention_heads: int = whole(14, 1, MAX_HEADS)
    num_key_value_heads: int = whole(2, 1, MAX_HEADS)
    vocab_size: int = whole(151936, 1, MAX_TOKENS)
    rope_theta: float = real(1e6, 1, 1e12)
    rms_norm_eps: float = real(1e-6, *EPS)
    max_position_embeddings: int = whole(32768, 1, 100_000_000)


@dataclass(frozen=True)
class LLMConfig:
    """`cosyvoice.llm.llm.Qwen2LM`: text tokens in, speech tokens out."""

    llm_input_size: int = whole(896, 1, MAX_WIDTH)
    llm_output_size: int = whole(896, 1, MAX_WIDTH)
    speech_token_size: int = whole(6561, 1, MAX_TOKENS)
    mix_ratio: tuple[int, ...] = wholes((5, 15), 1, 1000, (2, 2))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    qwen: Qwen2Config = field(default_factory=Qwen2Config)


@dataclass(frozen=True)
class EncoderConfig:
    """`cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder`."""

    input_size: int = whole(512, 1, MAX_WIDTH)
    output_size: int = whole(512, 1, MAX_WIDTH)
    attention_heads: int = whole(8, 1, MAX_HEADS)
    linear_units: int = whole(2048, 1, MAX_WIDTH)
    num_blocks: int = whole(6, 1, MAX_LAYERS)
    static_chunk_size: int = whole(25, 1, 100_000)


@dataclass(frozen=True)
class EstimatorConfig:
    """`cosyvoice.flow.decoder.CausalConditionalDecoder`."""

    in_channels: int = whole(320, 4, MAX_WIDTH)
    out_channels: int = whole(80, 1, MAX_WIDTH)
    channels: tuple[int, ...] = wholes((256,), 1, MAX_WIDTH)
    attention_head_dim: int = whole(64, 1, MAX_WIDTH)
    n_blocks: int = whole(4, 1, MAX_LAYERS)
    num_mid_blocks: int = whole(12, 1, MAX_LAYERS)
    num_heads: int = whole(8, 1, MAX_HEADS)
    static_chunk_size: int = whole(50, 1, 100_000)
    num_decoding_left_chunks: int = whole(-1, -1, 100_000)


@dataclass(frozen=True)
class SolverConfig:
    """`cosyvoice.flow.flow_matching.CausalConditionalCFM`: Euler solver, cosine time, classifier-free guidance."""

    in_channels: int = whole(240, 1, MAX_WIDTH)
    spk_emb_dim: int = whole(80, 1, MAX_WIDTH)
    inference_cfg_rate: float = real(0.7, 0, 100)


@dataclass(frozen=True)
class CFMConfig(SolverConfig):
    """The solver with CosyVoice2's estimator."""

    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


@dataclass(frozen=True)
class StageConfig:
    """What the flow stages of all families have: `input_size` is the width of an embedded token."""

    input_size: int = whole(512, 1, MAX_WIDTH)
    output_size: int = whole(80, 1, MAX_WIDTH)
    spk_embed_dim: int = whole(192, 1, MAX_WIDTH)
    vocab_size: int = whole(6561, 1, MAX_TOKENS)
    input_frame_rate: int = whole(25, 1, 1000)
    token_mel_ratio: int = whole(2, 1, 100)
    pre_lookahead_len: int = whole(3, 1, 1000)


@dataclass(frozen=True)
class FlowConfig(StageConfig):
    """`cosyvoice.flow.flow.CausalMaskedDiffWithXvec`: speech tokens to mel."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: CFMConfig = field(default_factory=CFMConfig)


@dataclass(frozen=True)
class PreLookaheadConfig:
    """`cosyvoice.transformer.upsample_encoder.PreLookaheadLayer`, where it stands by itself."""

    in_channels: int = whole(80, 1, MAX_WIDTH)
    channels: int = whole(1024, 1, MAX_WIDTH)
    pre_lookahead_len: int = whole(3, 1, 1000)


@dataclass(frozen=True)
class DiTConfig:
    """`cosyvoice.flow.DiT.dit.DiT`."""

    dim: int = whole(1024, 1, MAX_WIDTH)
    depth: int = whole(22, 1, MAX_LAYERS)
    heads: int = whole(16, 1, MAX_HEADS)
    dim_head: int = whole(64, 2, MAX_WIDTH)
    ff_mult: int = whole(2, 1, 1000)
    mel_dim: int = whole(80, 1, MAX_WIDTH)
    mu_dim: int = whole(80, 1, MAX_WIDTH)
    spk_dim: int = whole(80, 1, MAX_WIDTH)
    out_channels: int = whole(80, 1, MAX_WIDTH)
    static_chunk_size: int = whole(50, 1, 100_000)
    num_decoding_left_chunks: int = whole(-1, -1, 100_000)


@dataclass(frozen=True)
class DiTCFMConfig(SolverConfig):
    """The solver with CosyVoice3's estimator."""

    estimator: DiTConfig = field(default_factory=DiTConfig)


@dataclass(frozen=True)
class DiTFlowConfig(StageConfig):
    """`cosyvoice.flow.flow.CausalMaskedDiffWithDiT`: speech tokens to mel."""

    input_size: int = whole(80, 1, MAX_WIDTH)
    pre_lookahead_layer: PreLookaheadConfig = field(default_factory=PreLookaheadConfig)
    decoder: DiTCFMConfig = field(default_factory=DiTCFMConfig)


@dataclass(frozen=True)
class F0PredictorConfig:
    """`cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor`."""

    num_class: int = whole(1, 1, 100)
    in_channels: int = whole(80, 1, MAX_WIDTH)
    cond_channels: int = whole(512, 1, MAX_WIDTH)


@dataclass(frozen=True)
class ISTFTConfig:
    """The inverse transform that ends the vocoder, in samples."""

    n_fft: int = whole(16, 2, 1024)
    hop_len: int = whole(4, 1, 1024)


@dataclass(frozen=True)
class HiFTConfig:
    """`cosyvoice.hifigan.generator.HiFTGenerator`: mel to waveform."""

    in_channels: int = whole(80, 1, MAX_WIDTH)
    base_channels: int = whole(512, 1, MAX_WIDTH)
    nb_harmonics: int = whole(8, 1, 100)
    sampling_rate: int = whole(24000, *RATES)
    nsf_alpha: float = real(0.1, 0, 10)
    nsf_sigma: float = real(0.003, 0, 10)
    nsf_voiced_threshold: float = real(10.0, 0, 10_000)
    upsample_rates: tuple[int, ...] = wholes((8, 5, 3), 1, 1000)
    upsample_kernel_sizes: tuple[int, ...] = wholes((16, 11, 7), 1, 1000)
    istft_params: ISTFTConfig = field(default_factory=ISTFTConfig)
    resblock_kernel_sizes: tuple[int, ...] = wholes((3, 7, 11), 1, 1000)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = wholes(((1, 3, 5), (1, 3, 5), (1, 3, 5)), 1, 1000, depth=2)
    source_resblock_kernel_sizes: tuple[int, ...] = wholes((7, 7, 11), 1, 1000)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = wholes(
        ((1, 3, 5), (1, 3, 5), (1, 3, 5)), 1, 1000, depth=2
    )
    lrelu_slope: float = real(0.1, 0, 1)
    audio_limit: float = real(0.99, 0.01, 1)
    f0_predictor: F0PredictorConfig = field(default_factory=F0PredictorConfig)


@dataclass(frozen=True)
class CausalHiFTConfig(HiFTConfig):
    """`cosyvoice.hifigan.generator.CausalHiFTGenerator`: the vocoder of CosyVoice3."""

    conv_pre_look_right: int = whole(4, 1, 1000)


@dataclass(frozen=True)
class SpeakerEncoderConfig:
    """CAM++ (`speakerlab.models.campplus.DTDNN.CAMPPlus`): Kaldi fbank to speaker embedding."""

    feat_dim: int = whole(80, 8, 1024)
    embedding_size: int = whole(192, 1, MAX_WIDTH)
    growth_rate: int = whole(32, 1, MAX_WIDTH)
    bn_size: int = whole(4, 1, 1000)
    init_channels: int = whole(128, 1, MAX_WIDTH)
    num_layers: tuple[int, ...] = wholes((12, 24, 16), 1, MAX_LAYERS, (3, 3))


@dataclass(frozen=True)
class SpeechTokenizerConfig:
    """S3TokenizerV2: 16 kHz log mel to 25 tokens a second. `attn_ln_eps` and the heads are read from the ONNX graph."""

    n_mels: int = whole(128, 1, 1024)
    n_audio_state: int = whole(1280, 1, MAX_WIDTH)
    n_audio_head: int = whole(20, 1, MAX_HEADS)
    n_audio_layer: int = whole(6, 1, MAX_LAYERS)
    attn_ln_eps: float = real(1e-6, *EPS)
    mlp_ln_eps: float = real(1e-5, *EPS)


@dataclass(frozen=True)
class SpeechTokenizerV3Config(SpeechTokenizerConfig):
    """S3TokenizerV3, CosyVoice3's: the same network, deeper."""

    n_audio_layer: int = whole(12, 1, MAX_LAYERS)
    attn_ln_eps: float = real(1e-5, *EPS)


@dataclass(frozen=True)
class ModelConfig:
    """What `config.json` of a model folder says about the network; a family adds its components."""

    sample_rate: int = whole(24000, *RATES)
    token_frame_rate: int = whole(25, 1, 1000)
    token_mel_ratio: int = whole(2, 1, 100)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CosyVoice2Config(ModelConfig):
    """The sizes of a CosyVoice2."""

    llm: LLMConfig = field(default_factory=LLMConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    hift: HiFTConfig = field(default_factory=HiFTConfig)
    campplus: SpeakerEncoderConfig = field(default_factory=SpeakerEncoderConfig)
    speech_tokenizer: SpeechTokenizerConfig = field(default_factory=SpeechTokenizerConfig)


@dataclass(frozen=True)
class CosyVoice3Config(ModelConfig):
    """The sizes of a CosyVoice3."""

    llm: LLMConfig = field(default_factory=LLMConfig)
    flow: DiTFlowConfig = field(default_factory=DiTFlowConfig)
    hift: CausalHiFTConfig = field(default_factory=CausalHiFTConfig)
    campplus: SpeakerEncoderConfig = field(default_factory=SpeakerEncoderConfig)
    speech_tokenizer: SpeechTokenizerV3Config = field(default_factory=SpeechTokenizerV3Config)
