"""S3 speech tokenizer v2 (S3Tokenizer, `s3tokenizer.model_v2.S3TokenizerV2`) in plain PyTorch.

A Whisper-like encoder with rotary positions and an FSMN memory (a depthwise convolution over the values) beside
each attention, and a finite scalar quantizer: 8 numbers rounded to -1, 0 or 1 are the digits of a token in base 3.
One utterance at a time without padding, so the official length masks, all true then, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

FSMN_KERNEL = 31
#: The quantizer: digits of a token, their base, and the factor that keeps tanh away from the rounding edge at 1.
DIGITS, LEVELS, SHRINK = 8, 3, 0.9990000128746033
ROPE_THETA = 10000.0


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype for what half precision would spoil: angles of late positions, values near a rounding edge."""
    return torch.promote_types(dtype, torch.float32)


def rotary_table(length: int, dim: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [1, length, 1, dim] of the rotary angles; both halves of `dim` turn with the same frequencies."""
    dtype = at_least_float32(like.dtype)
    exponents = torch.arange(0, dim, 2, dtype=dtype, device=like.device) / dim
    angles = torch.outer(torch.arange(length, dtype=dtype, device=like.device), 1.0 / ROPE_THETA**exponents)
    angles = torch.cat([angles, angles], dim=1)[None, :, None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on [B, T, heads, dim]: the first half of `dim` pairs with the second."""
    first, second = x.chunk(2, dim=3)
    return x * cos + torch.cat([-second, first], dim=3) * sin


class FSMNMultiHeadAttention(nn.Module):
    """Self-attention with rotary positions, plus the FSMN memory of its values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(width, width, FSMN_KERNEL, groups=width, bias=False)
        self.pad_fn = nn.ConstantPad1d(((FSMN_KERNEL - 1) // 2, FSMN_KERNEL // 2), 0.0)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        memory = self.fsmn_block(self.pad_fn(value.transpose(1, 2))).transpose(1, 2) + value
        query, key, value = (part.unflatten(2, (self.heads, -1)) for part in (query, key, value))
        query, key = rotate(query, cos, sin).transpose(1, 2), rotate(key, cos, sin).transpose(1, 2)
        scale = query.shape[3] ** -0.25  # on both factors, as the official code does
        weights = ((query * scale) @ (key * scale).transpose(2, 3)).softmax(dim=3)
        attended = (weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2)
        return self.out(attended) + memory


class ResidualAttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward. The two norms have different epsilons."""

    def __init__(self, width: int, heads: int, attn_ln_eps: float, mlp_ln_eps: float) -> None:
        super().__init__()
        self.attn = FSMNMultiHeadAttention(width, heads)
        self.attn_ln = nn.LayerNorm(width, eps=attn_ln_eps)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width, eps=mlp_ln_eps)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.attn_ln(x), cos, sin)
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(nn.Module):
    """`AudioEncoderV2`: [B, n_mels, T] at 100 frames a second -> [B, T', width] at 25; T' = ceil(ceil(T / 2) / 2)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, heads = config["n_audio_state"], config["n_audio_head"]
        self.head_dim = width // heads
        self.conv1 = nn.Conv1d(config["n_mels"], width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, config["attn_ln_eps"], config["mlp_ln_eps"])
            for _ in range(config["n_audio_layer"])
        )

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(log_mel)))).transpose(1, 2)
        cos, sin = rotary_table(x.shape[1], self.head_dim, x)
        for block in self.blocks:
            x = block(x, cos, sin)
        return x


class FSQCodebook(nn.Module):
    """The finite scalar quantizer (the official `_codebook`)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_down = nn.Linear(width, DIGITS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, T, 8] in (-1, 1), before rounding; float32 or wider."""
        x = self.project_down(x)
        return x.to(at_least_float32(x.dtype)).tanh() * SHRINK


class FSQVectorQuantization(nn.Module):
    """Holds the codebook under its official path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._codebook = FSQCodebook(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._codebook(x)


class S3TokenizerV2(nn.Module):
    """The whole tokenizer. `config`: n_mels, n_audio_state, n_audio_head, n_audio_layer, attn_ln_eps, mlp_ln_eps."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.quantizer = FSQVectorQuantization(config["n_audio_state"])

    def before_rounding(self, log_mel: torch.Tensor) -> torch.Tensor:
        """[B, n_mels, T] log mel -> [B, T', 8] in (-1, 1); rounding these gives the digits of the tokens, less one."""
        return self.quantizer(self.encoder(log_mel))

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """[B, n_mels, T] log mel -> [B, T'] int32 tokens in [0, 6561). The batch holds utterances of one length."""
        return codes(self.before_rounding(log_mel))


def codes(before_rounding: torch.Tensor) -> torch.Tensor:
    """[..., 8] values in (-1, 1) -> [...] int32 tokens; the first value is the lowest digit."""
    digits = before_rounding.round().to(torch.int32) + 1
    powers = LEVELS ** torch.arange(DIGITS, dtype=torch.int32, device=digits.device)
    return (digits * powers).sum(-1, dtype=torch.int32)


def build(config: Mapping[str, Any]) -> S3TokenizerV2:
    """An untrained tokenizer in evaluation mode; `load_state_dict` accepts S3Tokenizer's keys."""
    return S3TokenizerV2(config).eval().requires_grad_(False)
