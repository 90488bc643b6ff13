"""What `cosyvoice2.yaml` may say."""

from __future__ import annotations

from dataclasses import asdict

from converters.yaml_schema import Schema
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
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.families.declaration import MelSettings

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
            inline=True,
            children={
                "content": Schema(
                    inline=True,
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

TOKENIZER = Schema(
    "cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer",
    fixed={"skip_special_tokens": True},
    default={"version": "cosyvoice2"},
    ignored=("token_path",),
)


def features(mel: MelSettings) -> Schema:
    """The mel of the prompt."""
    return Schema("matcha.utils.audio.mel_spectrogram", fixed={**asdict(mel), "win_size": mel.n_fft, "center": False})


#: The keys of the file that make up the network and its inputs; the others serve training.
ROOT = Schema(
    fixed={"sample_rate": 24000, "token_frame_rate": 25, "token_mel_ratio": 2, "allowed_special": "all"},
    children={
        "llm": LLM,
        "flow": FLOW,
        "hift": HIFT,
        "get_tokenizer": TOKENIZER,
        "feat_extractor": features(COSYVOICE2.mel),
    },
)
