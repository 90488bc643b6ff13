"""Dense transformers whose every layer sees the whole past."""

from __future__ import annotations

from .common import tiny

_GPT = {
    "vocab_size": 128,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
    "n_ctx": 128,
    "layer_norm_epsilon": 1e-5,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

DENSE = {
    "llama": tiny("llama", head_dim=16, attention_bias=True, mlp_bias=True, rope_scaling=_LLAMA3_ROPE),
    "qwen2": tiny("qwen2", tie_word_embeddings=True),
    "qwen3": tiny("qwen3", head_dim=24),
    "gemma": tiny(
        "gemma", head_dim=24, num_key_value_heads=1, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True
    ),
    "phi": tiny("phi", num_key_value_heads=4, partial_rotary_factor=0.5, layer_norm_eps=1e-5, hidden_act="gelu_new"),
    "phi3": tiny("phi3", partial_rotary_factor=0.5, original_max_position_embeddings=512),
    "gpt2": {"model_type": "gpt2", **_GPT},
    "gptj": {"model_type": "gptj", **_GPT, "rotary_dim": 8},
    "gpt_bigcode": {"model_type": "gpt_bigcode", **_GPT, "n_inner": 96, "multi_query": True},
    "gpt_neox": tiny(
        "gpt_neox",
        intermediate_size=192,
        rotary_pct=0.5,
        rotary_emb_base=20000,
        layer_norm_eps=1e-5,
        use_parallel_residual=True,
    ),
    "cohere": tiny("cohere", logit_scale=0.25, layer_norm_eps=1e-5, use_qk_norm=True, tie_word_embeddings=True),
    "stablelm": tiny(
        "stablelm",
        partial_rotary_factor=0.5,
        use_qkv_bias=True,
        qk_layernorm=True,
        use_parallel_residual=True,
        layer_norm_eps=1e-5,
    ),
    "starcoder2": tiny("starcoder2", use_bias=True, norm_epsilon=1e-5, tie_word_embeddings=True),
    "olmo2": tiny("olmo2"),
    "granite": tiny(
        "granite",
        embedding_multiplier=6.0,
        attention_multiplier=0.125,
        residual_multiplier=0.5,
        logits_scaling=4.0,
        attention_bias=False,
        mlp_bias=False,
    ),
    "glm": tiny("glm", head_dim=16, partial_rotary_factor=0.5, attention_bias=True),
    "glm4": tiny("glm4", head_dim=16, partial_rotary_factor=0.5, attention_bias=True),
    "helium": tiny("helium", head_dim=12, attention_bias=False, mlp_bias=False),
    "nemotron": tiny("nemotron", head_dim=16, norm_eps=1e-5, partial_rotary_factor=0.5, hidden_act="relu2"),
    "smollm3": tiny("smollm3", no_rope_layers=[1, 1, 0, 1]),
    "seed_oss": tiny("seed_oss", head_dim=24, attention_bias=True, attention_out_bias=False, mlp_bias=False),
    "apertus": tiny(
        "apertus",
        hidden_act="xielu",
        attention_bias=False,
        mlp_bias=False,
        post_norm=False,
        qk_norm=True,
        rope_scaling=_LLAMA3_ROPE,
    ),
    "nanochat": tiny("nanochat", num_key_value_heads=4, hidden_act="relu2", rms_norm_eps=1e-6, rope_theta=10000.0),
    "hunyuan_v1_dense": tiny(
        "hunyuan_v1_dense",
        head_dim=16,
        attention_bias=False,
        use_qk_norm=True,
        rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    ),
    "ernie4_5": tiny("ernie4_5", head_dim=16, use_bias=True),
    "exaone": tiny(
        "exaone",
        head_dim=12,
        num_layers=4,
        layer_norm_epsilon=1e-5,
        activation_function="silu",
    ),
    "internlm3": tiny(
        "internlm3", head_dim=12, bias=True, qkv_bias=True, rope_scaling={"rope_type": "dynamic", "factor": 6.0}
    ),
    "llama4_text": tiny(
        "llama4_text",
        head_dim=16,
        intermediate_size_mlp=96,
        interleave_moe_layer_step=0,
        moe_layers=[],
        no_rope_layers=[1, 1, 1, 0],
        attention_chunk_size=512,
        use_qk_norm=True,
        tie_word_embeddings=True,
    ),
}
