"""The encoder of the speech tokenizer: Whisper's blocks with rotary positions and an FSMN memory."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_cosyvoice.config import SpeechTokenizerConfig
from mlx_cosyvoice.nn import GELU, Conv1d, Module, Sequential, functional

FSMN_KERNEL = 31
ROPE_THETA = 10000.0


class ConstantPad1d(Module):
    """torch.nn.ConstantPad1d with zeros, on the time axis of [B, T, C]."""

    official_axes = "bct"

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.padding = (left, right)

    def __call__(self, x: mx.array) -> mx.array:
        return mx.pad(x, [(0, 0), self.padding, (0, 0)])


def rotary_table(length: int, dim: int) -> tuple[mx.array, mx.array]:
    """Cosine and sine [1, 1, length, dim], float32; both halves of `dim` turn with the same frequencies."""
    frequencies = 1.0 / mx.power(ROPE_THETA, mx.arange(0, dim, 2).astype(mx.float32) / dim)
    angles = mx.outer(mx.arange(length).astype(mx.float32), frequencies)
    angles = mx.concatenate([angles, angles], axis=1)[None, None]
    return mx.cos(angles), mx.sin(angles)


def rotate(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions on [B, heads, T, dim]: the first half of `dim` pairs with the second."""
    first, second = mx.split(x, 2, axis=3)
    return x * cos + mx.concatenate([-second, first], axis=3) * sin


class FSMNMultiHeadAttention(Module):
    """`attn`: self-attention with rotary positions, plus a depthwise convolution over its values (FSMN memory)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.fsmn_block = Conv1d(width, width, FSMN_KERNEL, groups=width, bias=False)
        self.pad_fn = ConstantPad1d((FSMN_KERNEL - 1) // 2, FSMN_KERNEL // 2)

    def __call__(self, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        query, key, value = self.query(x), self.key(x), self.value(x)
        memory = self.fsmn_block(self.pad_fn(value)) + value
        query, key, value = (mx.unflatten(part, 2, (self.heads, -1)).swapaxes(1, 2) for part in (query, key, value))
        attended = functional.attention(
            rotate(query, cos, sin), [(rotate(key, cos, sin), value)], scale=query.shape[3] ** -0.5
        )
        return self.out(attended.swapaxes(1, 2).flatten(2)) + memory


class ResidualAttentionBlock(Module):
    """`blocks.N`: pre-norm attention and feed-forward. The two norms have different epsilons."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        width = config.n_audio_state
        self.attn = FSMNMultiHeadAttention(width, config.n_audio_head)
        self.attn_ln = nn.LayerNorm(width, eps=config.attn_ln_eps)
        self.mlp = Sequential(nn.Linear(width, 4 * width), GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width, eps=config.mlp_ln_eps)

    def __call__(self, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        x = x + self.attn(self.attn_ln(x), cos, sin)
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(Module):
    """`encoder`: [B, T, n_mels] at 100 frames a second -> [B, T', width] at 25; T' = ceil(ceil(T / 2) / 2)."""

    official_input_axes = "bct"

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        width = config.n_audio_state
        self.head_dim = width // config.n_audio_head
        self.conv1 = Conv1d(config.n_mels, width, 3, stride=2, pad=(1, 1))
        self.conv2 = Conv1d(width, width, 3, stride=2, pad=(1, 1))
        self.blocks = [ResidualAttentionBlock(config) for _ in range(config.n_audio_layer)]

    def __call__(self, log_mel: mx.array) -> mx.array:
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(log_mel))))
        cos, sin = (table.astype(x.dtype) for table in rotary_table(x.shape[1], self.head_dim))
        for block in self.blocks:
            x = block(x, cos, sin)
        return x
