"""What nearly every configuration says in the same words, in a tiny size."""

from __future__ import annotations

from typing import Any

#: `rope_theta` is nobody's default, so a side that does not read it shows. Special tokens stay below 8.
SIZES: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 20000.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}

#: Attention layers of which every second one sees only the last `sliding_window` positions.
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def tiny(model_type: str, **options: Any) -> dict[str, Any]:
    """Return the common sizes of a configuration of `model_type`; `options` come on top."""
    return {"model_type": model_type, **SIZES, **options}
