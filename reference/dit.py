"""`cosyvoice.flow.DiT.dit.DiT`: the velocity field of CosyVoice3, a diffusion transformer (from F5-TTS).

Batches hold one utterance (and its unconditioned twin) without padding, so the official padding masks (all ones) are
left out. Convolutions see the past only; what attention sees of the future is bounded by the chunk mask. Inside,
channels come last: [B, T, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference.flow_decoder import Attention, SinusoidalPosEmb
from reference.upsample_encoder import chunk_mask

TIME_WIDTH = 256
POSITION_KERNEL, POSITION_GROUPS = 31, 16
EPS = 1e-6


class TimestepEmbedding(nn.Module):
    """`estimator.time_embed`: times in 0..1, [B], to [B, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.time_embed = SinusoidalPosEmb(TIME_WIDTH)
        self.time_mlp = nn.Sequential(nn.Linear(TIME_WIDTH, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.time_mlp(self.time_embed(t).to(self.time_mlp[2].weight.dtype))


class CausalConvPositionEmbedding(nn.Module):
    """`estimator.input_embed.conv_pos_embed`: two convolutions that see the past only. [B, T, dim] in and out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        conv = (dim, dim, POSITION_KERNEL)
        self.conv1 = nn.Sequential(nn.Conv1d(*conv, groups=POSITION_GROUPS), nn.Mish())
        self.conv2 = nn.Sequential(nn.Conv1d(*conv, groups=POSITION_GROUPS), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for conv in (self.conv1, self.conv2):
            x = conv(F.pad(x, (POSITION_KERNEL - 1, 0)))
        return x.transpose(1, 2)


class InputEmbedding(nn.Module):
    """`estimator.input_embed`: the four inputs in the official order, joined; [B, T, dim]."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        joined = 2 * config["mel_dim"] + config["mu_dim"] + config["spk_dim"]
        self.proj = nn.Linear(joined, config["dim"])
        self.conv_pos_embed = CausalConvPositionEmbedding(config["dim"])

    def forward(self, x: Tensor, cond: Tensor, mu: Tensor, spks: Tensor) -> Tensor:
        """x and cond [B, T, 80] mel, mu [B, T, 80], spks [B, 80]."""
        x = self.proj(torch.cat([x, cond, mu, spks[:, None].expand(-1, x.shape[1], -1)], dim=-1))
        return self.conv_pos_embed(x) + x


class RotaryEmbedding(nn.Module):
    """`estimator.rotary_embed`, x-transformers' `RotaryEmbedding`: the turn of every pair of channels by its position.

    `inv_freq` is a tensor of the checkpoint. It stays float32 or finer, since positions multiply its error.
    """

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 10000 ** (-torch.arange(0, head_dim, 2) / head_dim))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RotaryEmbedding:
        before = self.inv_freq
        super()._apply(fn, recurse)
        if torch.promote_types(self.inv_freq.dtype, torch.float32) != self.inv_freq.dtype:
            self.inv_freq = before.to(self.inv_freq.device)
        return self

    def forward(self, position: Tensor) -> Tensor:
        """position [1, T] -> [1, T, head_dim]: the cosine of pair i at 2i, and its sine at 2i + 1."""
        angle = position[..., None].to(self.inv_freq.dtype) * self.inv_freq
        return torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(2)


def apply_rotary_pos_emb(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the first head alone: neighbors (2i, 2i + 1) of as many channels as there are turns.

    x [B, T, heads * head_dim], turns [1, T, head_dim] -> as x. The official code comes to this by turning queries and
    keys before their heads are split.
    """
    width = turns.shape[2]
    a, b = x[..., :width].unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = turns.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([a * cosine - b * sine, a * sine + b * cosine], dim=-1).flatten(2)
    return torch.cat([turned.to(x.dtype), x[..., width:]], dim=-1)


class AdaLayerNormZero(nn.Module):
    """`...attn_norm`: a norm whose scale and shift the time gives, and what else the block needs of the time."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.silu = nn.SiLU()
        self.linear = nn.Linear(dim, 6 * dim)
        self.norm = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """x [B, T, dim], time [B, dim] -> x for the attention; its gate, and shift, scale, gate of the feed-forward.

        The last four are [B, 1, dim].
        """
        shift, scale, *rest = self.linear(self.silu(time))[:, None].chunk(6, dim=-1)
        return self.norm(x) * (1 + scale) + shift, *rest


class AdaLayerNormZero_Final(nn.Module):  # noqa: N801
    """`estimator.norm_out`: here the scale comes before the shift."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.silu = nn.SiLU()
        self.linear = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.linear(self.silu(time))[:, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class RotaryAttention(Attention):
    """`...attn`: all four projections have a bias, and positions turn queries and keys."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__(dim, heads, head_dim, bias=True)

    def forward(self, x: Tensor, mask: Tensor | None, turns: Tensor) -> Tensor:  # type: ignore[override]
        """x [B, T, dim], mask [T, T] bool or None (full attention), turns of `RotaryEmbedding` -> [B, T, dim]."""
        q, k = (apply_rotary_pos_emb(project(x), turns) for project in (self.to_q, self.to_k))
        return self.out(q, k, self.to_v(x), mask)


class FeedForward(nn.Module):
    """`...ff`, with the tanh approximation of GELU."""

    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        project_in = nn.Sequential(nn.Linear(dim, mult * dim), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(project_in, nn.Identity(), nn.Linear(mult * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class DiTBlock(nn.Module):
    """`estimator.transformer_blocks.N`. [B, T, dim] in and out."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim = config["dim"]
        self.attn_norm = AdaLayerNormZero(dim)
        self.attn = RotaryAttention(dim, config["heads"], config["dim_head"])
        self.ff_norm = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)
        self.ff = FeedForward(dim, config["ff_mult"])

    def forward(self, x: Tensor, time: Tensor, mask: Tensor | None, turns: Tensor) -> Tensor:
        normed, gate, ff_shift, ff_scale, ff_gate = self.attn_norm(x, time)
        x = x + gate * self.attn(normed, mask, turns)
        return x + ff_gate * self.ff(self.ff_norm(x) * (1 + ff_scale) + ff_shift)


class DiT(nn.Module):
    """`decoder.estimator`. `config` has the fields of `DiTConfig`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.static_chunk_size = config["static_chunk_size"]
        self.num_decoding_left_chunks = -1  # all, but in a `left_context`
        self.time_embed = TimestepEmbedding(config["dim"])
        self.input_embed = InputEmbedding(config)
        self.rotary_embed = RotaryEmbedding(config["dim_head"])
        self.transformer_blocks = nn.ModuleList(DiTBlock(config) for _ in range(config["depth"]))
        self.norm_out = AdaLayerNormZero_Final(config["dim"])
        self.proj_out = nn.Linear(config["dim"], config["mel_dim"])

    def forward(self, x: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, *, streaming: bool) -> Tensor:
        """The velocity at x.

        Args:
            x: [B, 80, T] the noisy mel.
            mu: [B, 80, T] the tokens' features.
            t: [B] times, 0 is noise and 1 is speech; at least float32.
            spks: [B, 80] speaker.
            cond: [B, 80, T] the prompt's mel, zeros after it.
            streaming: attend in chunks of `static_chunk_size` frames instead of to everything.

        Returns:
            [B, 80, T].
        """
        length = x.shape[2]
        time = self.time_embed(t)
        turns = self.rotary_embed(torch.arange(length, device=x.device)[None])
        chunk = self.static_chunk_size if streaming else 0
        mask = chunk_mask(length, chunk, x.device, self.num_decoding_left_chunks)
        x = self.input_embed(x.transpose(1, 2), cond.transpose(1, 2), mu.transpose(1, 2), spks)
        for block in self.transformer_blocks:
            x = block(x, time, mask, turns)
        return self.proj_out(self.norm_out(x, time)).transpose(1, 2)
