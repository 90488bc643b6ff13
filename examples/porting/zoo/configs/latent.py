"""Multi-head latent attention: keys and values come from a small latent vector, and only a part of a head rotates."""

from __future__ import annotations

from typing import Any

from .common import tiny

_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_ROUTED: dict[str, Any] = {
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "routed_scaling_factor": 2.5,
    "n_group": 2,
    "topk_group": 1,
}
_YARN: dict[str, Any] = {
    "type": "yarn",
    "rope_type": "yarn",
    "factor": 8.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 32,
}
_SIGMOID: dict[str, Any] = {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True}

LATENT = {
    "deepseek_v2": tiny(
        "deepseek_v2",
        **_LATENT,
        **_ROUTED,
        rope_scaling=_YARN,
        topk_method="group_limited_greedy",
        scoring_func="softmax",
    ),
    "deepseek_v3": tiny("deepseek_v3", **_LATENT, **_ROUTED, **_SIGMOID, rope_scaling=_YARN),
    "deepseek_v32": tiny(
        "deepseek_v32",
        **_LATENT,
        **_ROUTED,
        **_SIGMOID,
        rope_scaling=_YARN,
        index_head_dim=16,
        index_n_heads=16,
        index_topk=8,
    ),
    "glm_moe_dsa": tiny(
        "glm_moe_dsa",
        **_LATENT,
        **_ROUTED,
        **_SIGMOID,
        rope_parameters={"rope_type": "default", "rope_theta": 20000.0},
        index_head_dim=16,
        index_n_heads=16,
        index_topk=8,
    ),
    "glm4_moe_lite": tiny("glm4_moe_lite", **_LATENT, **_ROUTED, **_SIGMOID),
    "minicpm3": tiny(
        "minicpm3",
        **{**_LATENT, "v_head_dim": 12},
        rope_scaling={
            "type": "longrope",
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.6],
            "long_factor": [1.0, 1.1, 1.3, 1.6],
            "original_max_position_embeddings": 512,
        },
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=32,
    ),
    "longcat_flash": tiny(
        "longcat_flash",
        **_LATENT,
        head_dim=8,
        num_layers=2,
        num_hidden_layers=4,
        ffn_hidden_size=96,
        expert_ffn_hidden_size=32,
        n_routed_experts=8,
        zero_expert_num=4,
        zero_expert_type="identity",
        attention_method="MLA",
        moe_topk=3,
        routed_scaling_factor=2.5,
        mla_scale_q_lora=True,
        mla_scale_kv_lora=True,
        attention_bias=False,
    ),
    "mistral4": tiny(
        "mistral4",
        **_LATENT,
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=0,
        routed_scaling_factor=1.0,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        rope_interleave=True,
        rope_parameters={**_YARN, "rope_theta": 20000.0, "max_position_embeddings": 512, "llama_4_scaling_beta": 0.1},
    ),
    "youtu_llm": tiny("youtu_llm", **_LATENT, rms_norm_eps=1e-6, rope_interleave=True, tie_word_embeddings=True),
}
