"""The Qwen2 causal language model in plain PyTorch, as transformers 4.51 computes it (attention written out).

Module paths are those of `transformers.Qwen2ForCausalLM`. Numbers that need range or precision (norms, rotary angles,
softmax) are computed in at least float32 whatever the weights' dtype, and in float64 when the model is float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Keys and values of one layer, [1, kv heads, positions, head_dim] each.
LayerCache = tuple[Tensor, Tensor]
#: One entry a layer. Never written in place, so a cache may be kept and continued from twice.
Cache = Sequence[LayerCache]


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_float32(x)
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotary angles of `length` positions from `start`: two of [1, length, head_dim]."""

    def __init__(self, head_dim: int, theta: float) -> None:
        super().__init__()
        self.head_dim, self.theta = head_dim, theta

    def forward(self, start: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        # not a buffer: a buffer would be rounded by .half() and .bfloat16()
        wide = torch.promote_types(like.dtype, torch.float32)
        positions = torch.arange(start, start + length, device=like.device)
        exponents = torch.arange(0, self.head_dim, 2, device=like.device).to(wide) / self.head_dim
        angles = positions.to(wide)[:, None] * (1.0 / self.theta**exponents)
        angles = torch.cat([angles, angles], dim=-1)[None]
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of x [1, heads, T, head_dim] by the angles of cos, sin [1, T, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]


class Attention(nn.Module):
    """Grouped-query self-attention, causal, with biases on q, k and v."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hidden, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.kv_heads, self.head_dim = config["num_key_value_heads"], hidden // self.heads
        self.q_proj = nn.Linear(hidden, self.heads * self.head_dim)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_dim)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_dim)
        self.o_proj = nn.Linear(self.heads * self.head_dim, hidden, bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        query = rotate(self._split(self.q_proj(x), self.heads), *rotary)
        key = rotate(self._split(self.k_proj(x), self.kv_heads), *rotary)
        value = self._split(self.v_proj(x), self.kv_heads)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        group = self.heads // self.kv_heads
        scores = query @ key.repeat_interleave(group, dim=1).transpose(2, 3) * self.head_dim**-0.5
        new, total = scores.shape[2:]
        future = torch.ones(new, total, dtype=torch.bool, device=x.device).triu(total - new + 1)
        weights = at_least_float32(scores.masked_fill(future, -torch.inf)).softmax(-1).to(x.dtype)
        mixed = weights @ value.repeat_interleave(group, dim=1)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), (key, value)


class MLP(nn.Module):
    """Gated feed-forward: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        attended, present = self.self_attn(self.input_layernorm(x), rotary, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Qwen2Model(nn.Module):
    """`transformers.Qwen2Model` on embeddings [1, T, hidden]; returns the normed states and the grown cache."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hidden = config["hidden_size"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], hidden)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = RMSNorm(hidden, config["rms_norm_eps"])
        self.rotary_emb = RotaryEmbedding(hidden // config["num_attention_heads"], config["rope_theta"])

    def forward(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        start = cache[0][0].shape[2] if cache else 0
        rotary = self.rotary_emb(start, x.shape[1], x)
        grown = []
        for index, layer in enumerate(self.layers):
            x, present = layer(x, rotary, cache[index] if cache else None)
            grown.append(present)
        return self.norm(x), grown


class Qwen2ForCausalLM(nn.Module):
    """`transformers.Qwen2ForCausalLM`. The text logits of `lm_head` are computed and dropped, as upstream does:

    CosyVoice2 reads the hidden states only, but a tap on `lm_head` then sees what a tap on the official model sees.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = Qwen2Model(config)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        hidden, cache = self.model(x, cache)
        self.lm_head(hidden)
        return hidden, cache
