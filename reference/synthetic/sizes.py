"""The two sizes in which synthetic checkpoints and golden numbers come.

Fields bear the official names of `cosyvoice2.yaml` and of `CosyVoice-BlankEN/config.json`; every `build` of this
package accepts one of these mappings.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

#: CosyVoice2-0.5B as published.
FULL: dict[str, Any] = {
    "sample_rate": 24000,
    "token_frame_rate": 25,
    "token_mel_ratio": 2,
    "llm": {
        "llm_input_size": 896,
        "llm_output_size": 896,
        "speech_token_size": 6561,
        "mix_ratio": [5, 15],
        "sampling": {"top_p": 0.8, "top_k": 25, "win_size": 10, "tau_r": 0.1},
        "qwen": {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-06,
            "max_position_embeddings": 32768,
        },
    },
    "flow": {
        "input_size": 512,
        "output_size": 80,
        "spk_embed_dim": 192,
        "vocab_size": 6561,
        "input_frame_rate": 25,
        "token_mel_ratio": 2,
        "pre_lookahead_len": 3,
        "encoder": {
            "input_size": 512,
            "output_size": 512,
            "attention_heads": 8,
            "linear_units": 2048,
            "num_blocks": 6,
            "static_chunk_size": 25,
        },
        "decoder": {
            "in_channels": 240,
            "spk_emb_dim": 80,
            "inference_cfg_rate": 0.7,
            "estimator": {
                "in_channels": 320,
                "out_channels": 80,
                "channels": [256],
                "attention_head_dim": 64,
                "n_blocks": 4,
                "num_mid_blocks": 12,
                "num_heads": 8,
                "static_chunk_size": 50,
                "num_decoding_left_chunks": -1,
            },
        },
    },
    "hift": {
        "in_channels": 80,
        "base_channels": 512,
        "nb_harmonics": 8,
        "sampling_rate": 24000,
        "nsf_alpha": 0.1,
        "nsf_sigma": 0.003,
        "nsf_voiced_threshold": 10,
        "upsample_rates": [8, 5, 3],
        "upsample_kernel_sizes": [16, 11, 7],
        "istft_params": {"n_fft": 16, "hop_len": 4},
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "source_resblock_kernel_sizes": [7, 7, 11],
        "source_resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "lrelu_slope": 0.1,
        "audio_limit": 0.99,
        "f0_predictor": {"num_class": 1, "in_channels": 80, "cond_channels": 512},
    },
    "campplus": {
        "feat_dim": 80,
        "embedding_size": 192,
        "growth_rate": 32,
        "bn_size": 4,
        "init_channels": 128,
        "num_layers": [12, 24, 16],
    },
    "speech_tokenizer": {
        "n_mels": 128,
        "n_audio_state": 1280,
        "n_audio_head": 20,
        "n_audio_layer": 6,
        "attn_ln_eps": 1e-6,
        "mlp_ln_eps": 1e-5,
    },
}


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with other values at some leaves."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        result[key] = changed(base[key], value) if isinstance(value, Mapping) else value
    return result


#: The same network, narrow and shallow: small enough for every test. CAM++ stays whole.
TINY = changed(
    FULL,
    {
        "llm": {
            "llm_input_size": 64,
            "llm_output_size": 64,
            "qwen": {
                "hidden_size": 64,
                "intermediate_size": 160,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "vocab_size": 1000,
            },
        },
        "flow": {
            "encoder": {"linear_units": 128, "num_blocks": 1},
            "decoder": {
                "estimator": {
                    "channels": [64],
                    "attention_head_dim": 32,
                    "n_blocks": 1,
                    "num_mid_blocks": 2,
                    "num_heads": 2,
                }
            },
        },
        "hift": {"base_channels": 64, "f0_predictor": {"cond_channels": 32}},
        "speech_tokenizer": {"n_audio_state": 128, "n_audio_head": 2, "n_audio_layer": 2},
    },
)

SIZES = {"tiny": TINY, "full": FULL}
