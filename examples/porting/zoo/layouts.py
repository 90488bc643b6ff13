"""Checkpoints in the layout that mlx-lm reads, where transformers' own `save_pretrained` writes another.

mlx-lm is written for published files, which are older than transformers' way of writing them: names without a prefix,
text models within a multimodal one, other splits. Every function here takes the tensors by name as transformers writes
them, and returns them as mlx-lm reads them; values are only moved, split, joined or transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]

#: Model types that the two libraries spell differently: mlx-lm's (and the checkpoint's) -> transformers'.
TRANSFORMERS_TYPES = {"youtu_llm": "youtu", "hunyuan": "hunyuan_v1_moe"}


def as_mlx_lm_reads(model_type: str, config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Return the `tensors` of a checkpoint with this `config` in mlx-lm's layout; most are in it already."""
    layout = LAYOUTS.get(model_type)
    tensors = layout(config, tensors) if layout else tensors
    return {name: value.contiguous() for name, value in tensors.items()}


def _rename(*rules: tuple[str, str]) -> Callable[[Mapping[str, Any], Tensors], Tensors]:
    def layout(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
        renamed = {}
        for name, value in tensors.items():
            for pattern, replacement in rules:
                name = re.sub(pattern, replacement, name)
            renamed[name] = value
        return renamed

    return layout


def _longcat_flash(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Drop the weights of the identity experts, which transformers writes and nobody reads."""
    expert = re.compile(r"\.mlp\.experts\.(\d+)\.")
    numbers = {name: int(found[1]) for name in tensors if (found := expert.search(name))}
    return {name: value for name, value in tensors.items() if numbers.get(name, 0) < config["n_routed_experts"]}


def _gpt_oss(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Split the experts as mlx-lm keeps them: in the official layout its `sanitize` knows 4-bit weights alone."""
    split: Tensors = {}
    for name, value in tensors.items():
        base, _, leaf = name.rpartition(".")
        if leaf.startswith("gate_up_proj"):
            part = "bias" if leaf.endswith("bias") else "weight"
            value = value if part == "bias" else value.mT
            rows = (slice(None), slice(0, None, 2)), (slice(None), slice(1, None, 2))
            split[f"{base}.gate_proj.{part}"], split[f"{base}.up_proj.{part}"] = value[rows[0]], value[rows[1]]
        elif leaf == "down_proj_bias":
            split[f"{base}.down_proj.bias"] = value
        elif leaf == "down_proj":
            split[f"{base}.down_proj.weight"] = value.mT
        else:
            split[name] = value
    return split


def _olmo_hybrid(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Name the norms as mlx-lm reads them, and cut the convolution of queries, keys and values at their sizes.

    transformers keeps it as one and writes three equal pieces, whatever the sizes are.
    """
    names = (("attention_layer_norm", "input_layernorm"), ("feedforward_layer_norm", "post_attention_layernorm"))
    tensors = _rename(*names)(config, tensors)
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    for name in [name for name in tensors if name.endswith("q_conv1d.weight")]:
        three = [name.replace("q_conv1d", f"{part}_conv1d") for part in "qkv"]
        whole = torch.cat([tensors[part] for part in three])
        tensors.update(zip(three, whole.split([keys, keys, len(whole) - 2 * keys]), strict=True))
    return tensors


def _bailing_hybrid(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Call the output of linear attention `o_proj`; only that of latent attention is called `dense`."""
    latent = {name.split(".")[2] for name in tensors if name.endswith("kv_b_proj.weight")}

    def published(name: str) -> str:
        linear = "attention.dense" in name and name.split(".")[2] not in latent
        return name.replace("attention.dense", "attention.o_proj") if linear else name

    return {published(name): value for name, value in tensors.items()}


def _qwen3_5_moe(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Stack the experts, gates above ups: transformers takes them apart as in older models of the family."""
    expert = re.compile(r"\.experts\.\d+\.")
    stacked = {name: value for name, value in tensors.items() if not expert.search(name)}
    for first in [name for name in tensors if name.endswith(".experts.0.down_proj.weight")]:
        base = first.removesuffix(".0.down_proj.weight")
        experts = range(config["text_config"]["num_experts"])
        gates, ups, downs = (
            torch.stack([tensors[f"{base}.{number}.{part}_proj.weight"] for number in experts])
            for part in ("gate", "up", "down")
        )
        stacked |= {f"{base}.gate_up_proj": torch.cat([gates, ups], dim=1), f"{base}.down_proj": downs}
    return stacked


def _gemma3n(config: Mapping[str, Any], tensors: Tensors) -> Tensors:
    """Move the model into the multimodal one, and give layers that share keys and values the ones that nobody reads."""
    text = config["text_config"]
    first_shared = text["num_hidden_layers"] - text["num_kv_shared_layers"]
    for name in [name for name in tensors if re.search(r"layers\.0\.self_attn\.(k_|v_proj)", name)]:
        for layer in range(first_shared, text["num_hidden_layers"]):
            tensors[name.replace("layers.0", f"layers.{layer}")] = tensors[name].clone()
    return {name.replace("model.", "model.language_model.", 1): value for name, value in tensors.items()}


#: Model type -> what brings it into the layout.
LAYOUTS: dict[str, Callable[[Mapping[str, Any], Tensors], Tensors]] = {
    "gpt2": _rename((r"^transformer\.", "")),
    "gpt_oss": _gpt_oss,
    "longcat_flash": _longcat_flash,
    # transformers renames more on the way out than on the way in. Here it takes the dense layer along, in the next two
    # the norms of layers of full attention and the output of linear attention.
    "kimi_linear": _rename((r"block_sparse_moe\.(gate_proj|up_proj|down_proj)", r"mlp.\1")),
    "olmo_hybrid": _olmo_hybrid,
    "bailing_hybrid": _bailing_hybrid,
    "nanochat": _rename(
        (r"^model\.embed_tokens\.", "transformer.wte."),
        (r"^model\.layers\.", "transformer.h."),
        (r"self_attn\.([qkv])_proj", r"attn.c_\1"),
        (r"self_attn\.o_proj", "attn.c_proj"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
    ),
    "gemma3n": _gemma3n,
    "qwen3_5_moe": _qwen3_5_moe,
    "muse_glimmer": _rename((r"^model\.vision_", "vision_")),
    "llama4": _rename((r"^", "language_model.")),
}
