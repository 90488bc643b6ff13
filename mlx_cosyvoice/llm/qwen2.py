"""The Qwen2 backbone, under the module paths of `transformers.Qwen2ForCausalLM`. Activations are [1, time, hidden]."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.config import Qwen2Config
from mlx_cosyvoice.llm.cache import KVCache, LayerCache
from mlx_cosyvoice.nn import Linear, Module, SiLU, functional


class RotaryEmbedding(Module):
    """Cosines and sines of the rotary angles of `length` positions from `start`: two of [1, length, head_dim], float32.

    A module of its own (and not `mx.fast.rope`) so that its output can be tapped like the official one.
    """

    def __init__(self, head_dim: int, theta: float) -> None:
        super().__init__()
        self.frequencies = (1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)

    def __call__(self, start: int, length: int) -> tuple[mx.array, mx.array]:
        positions = mx.arange(start, start + length, dtype=mx.float32)
        angles = positions[:, None] * mx.array(self.frequencies)
        angles = mx.concatenate([angles, angles], axis=-1)[None]
        return mx.cos(angles), mx.sin(angles)


def rotate(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Turn the pairs (i, i + head_dim / 2) of x [1, heads, time, head_dim] by the angles of cos, sin, in float32."""
    first, second = mx.split(x, 2, axis=-1)
    turned = x * cos[:, None] + mx.concatenate([-second, first], axis=-1) * sin[:, None]
    return turned.astype(x.dtype)


class Attention(Module):
    """Grouped-query self-attention, causal, with biases on q, k and v."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        hidden, self.heads = config.hidden_size, config.num_attention_heads
        self.kv_heads, self.head_dim = config.num_key_value_heads, hidden // self.heads
        self.q_proj = Linear(hidden, self.heads * self.head_dim)
        self.k_proj = Linear(hidden, self.kv_heads * self.head_dim)
        self.v_proj = Linear(hidden, self.kv_heads * self.head_dim)
        self.o_proj = Linear(self.heads * self.head_dim, hidden, bias=False)

    def _split(self, x: mx.array, heads: int) -> mx.array:
        return x.reshape(*x.shape[:2], heads, self.head_dim).transpose(0, 2, 1, 3)

    def __call__(self, x: mx.array, rotary: tuple[mx.array, mx.array], cache: LayerCache) -> mx.array:
        query = rotate(self._split(self.q_proj(x), self.heads), *rotary)
        key = rotate(self._split(self.k_proj(x), self.kv_heads), *rotary)
        keys, values = cache.update_and_fetch(key, self._split(self.v_proj(x), self.kv_heads))
        mixed = functional.attention(
            query,
            [(keys, values)],
            scale=self.head_dim**-0.5,
            mask="causal" if x.shape[1] > 1 else None,  # one new position may look at all that are held
        )
        return self.o_proj(mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1))


class MLP(Module):
    """Gated feed-forward: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Linear(hidden, inner, bias=False)
        self.up_proj = Linear(hidden, inner, bias=False)
        self.down_proj = Linear(inner, hidden, bias=False)
        self.act_fn = SiLU()

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def __call__(self, x: mx.array, rotary: tuple[mx.array, mx.array], cache: LayerCache) -> mx.array:
        x = x + self.self_attn(self.input_layernorm(x), rotary, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Qwen2Model(Module):
    """`transformers.Qwen2Model` on embeddings; returns the normed hidden states and extends `cache`."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [DecoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config.hidden_size // config.num_attention_heads, config.rope_theta)

    def __call__(self, x: mx.array, cache: KVCache) -> mx.array:
        rotary = self.rotary_emb(cache.offset, x.shape[1])
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, rotary, layer_cache)
        return self.norm(x)


class Qwen2ForCausalLM(Module):
    """`transformers.Qwen2ForCausalLM` without its text head."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2Model(config)

    def unused(self) -> dict[str, str]:
        return {"lm_head.weight": "speech tokens are predicted by llm_decoder; text logits are never read"}

    def __call__(self, x: mx.array, cache: KVCache) -> mx.array:
        return self.model(x, cache)


class Qwen2Encoder(Module):
    """Holds the backbone under its official path, `llm.model` (`cosyvoice.llm.llm.Qwen2Encoder`)."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2ForCausalLM(config)

    def __call__(self, x: mx.array, cache: KVCache) -> mx.array:
        return self.model(x, cache)
