"""`cosyvoice.flow.decoder.CausalConditionalDecoder`: the velocity field that the flow's Euler solver follows.

Batches hold one utterance (and its unconditioned twin) without padding, so the official padding masks (all ones) are
left out. Convolutions see the past only; what attention sees of the future is bounded by the chunk mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference.upsample_encoder import chunk_mask


class SinusoidalPosEmb(nn.Module):
    """`estimator.time_embeddings`: times in 0..1, [B], to [B, width] sinusoids of 1000 t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        rate = torch.exp(torch.arange(half, device=t.device, dtype=t.dtype) * -(math.log(10000) / (half - 1)))
        angle = 1000 * t[:, None] * rate[None, :]
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class TimestepEmbedding(nn.Module):
    """`estimator.time_mlp`."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_size, out_size)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(out_size, out_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(x)))


class CausalConv1d(nn.Conv1d):
    """A convolution padded with zeros on the left only. [B, C, T] in and out."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


class Transpose(nn.Module):
    """Swaps channels and time, so that LayerNorm sees channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class CausalBlock1D(nn.Module):
    """`...block1`, `...block2`, `estimator.final_block`. [B, C, T] in and out."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            CausalConv1d(dim, dim_out, 3), Transpose(), nn.LayerNorm(dim_out), Transpose(), nn.Mish()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class CausalResnetBlock1D(nn.Module):
    """`down_blocks.N.0`, `mid_blocks.N.0`, `up_blocks.N.0`: two convolutions with the time added in between."""

    def __init__(self, dim: int, dim_out: int, time_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_dim, dim_out))
        self.block1 = CausalBlock1D(dim, dim_out)
        self.block2 = CausalBlock1D(dim_out, dim_out)
        self.res_conv = nn.Conv1d(dim, dim_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.block1(x) + self.mlp(time)[..., None]
        return self.block2(h) + self.res_conv(x)


class Attention(nn.Module):
    """`...attn1`, diffusers' `Attention`: no bias on the projections in, bias on the one out."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_k = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_v = nn.Linear(dim, heads * head_dim, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(heads * head_dim, dim), nn.Identity()])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.out(self.to_q(x), self.to_k(x), self.to_v(x), mask)

    def out(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What queries find among keys and values, [B, T, heads * head_dim] each: [B, T, dim]."""
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (q, k, v))
        # The official mask adds -1e10. Every query sees its own chunk, so a boolean mask gives the same weights.
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        for module in self.to_out:
            x = module(x)
        return x


class GELU(nn.Module):
    """`...ff.net.0`, diffusers' `GELU`: a projection followed by the exact GELU."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """`...ff`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GELU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        for module in self.net:
            x = module(x)
        return x


class BasicTransformerBlock(nn.Module):
    """`down_blocks.N.1.M` and so on, matcha's block: pre-norm attention and feed-forward. [B, T, C] in and out."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads, head_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x), mask)
        return x + self.ff(self.norm3(x))


class CausalConditionalDecoder(nn.Module):
    """`decoder.estimator`. `config` has the fields of `EstimatorConfig`.

    Raises:
        ValueError: `channels` names more than one width. CosyVoice2 has a single resolution; with more, the official
            network halves the frame rate by convolutions that see the future.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        if len(config["channels"]) != 1:
            raise ValueError(f"estimator channels must hold one width, as in CosyVoice2, not {config['channels']}")
        (width,) = config["channels"]
        time_dim = 4 * width
        self.static_chunk_size = config["static_chunk_size"]
        self.num_decoding_left_chunks = -1  # all, but in a `left_context`
        self.time_embeddings = SinusoidalPosEmb(config["in_channels"])
        self.time_mlp = TimestepEmbedding(config["in_channels"], time_dim)

        def level(dim: int, *tail: nn.Module) -> nn.ModuleList:
            heads, head_dim = config["num_heads"], config["attention_head_dim"]
            blocks = nn.ModuleList(BasicTransformerBlock(width, heads, head_dim) for _ in range(config["n_blocks"]))
            return nn.ModuleList([CausalResnetBlock1D(dim, width, time_dim), blocks, *tail])

        self.down_blocks = nn.ModuleList([level(config["in_channels"], CausalConv1d(width, width, 3))])
        self.mid_blocks = nn.ModuleList(level(width) for _ in range(config["num_mid_blocks"]))
        self.up_blocks = nn.ModuleList([level(2 * width, CausalConv1d(width, width, 3))])
        self.final_block = CausalBlock1D(width, width)
        self.final_proj = nn.Conv1d(width, config["out_channels"], 1)

    def forward(self, x: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, *, streaming: bool) -> Tensor:
        """The velocity at x.

        Args:
            x: [B, 80, T] the noisy mel.
            mu: [B, 80, T] the encoder's features.
            t: [B] times, 0 is noise and 1 is speech; at least float32.
            spks: [B, 80] speaker.
            cond: [B, 80, T] the prompt's mel, zeros after it.
            streaming: attend in chunks of `static_chunk_size` frames instead of to everything.

        Returns:
            [B, 80, T].
        """
        time = self.time_mlp(self.time_embeddings(t).to(x.dtype))
        chunk = self.static_chunk_size if streaming else 0
        mask = chunk_mask(x.shape[2], chunk, x.device, self.num_decoding_left_chunks)

        def run(level: Any, x: Tensor) -> Tensor:
            x = level[0](x, time).transpose(1, 2)
            for block in level[1]:
                x = block(x, mask)
            return x.transpose(1, 2)

        x = torch.cat([x, mu, spks[..., None].expand(-1, -1, x.shape[2]), cond], dim=1)
        down: Any = self.down_blocks[0]
        up: Any = self.up_blocks[0]
        x = skip = run(down, x)
        x = down[2](x)
        for level in self.mid_blocks:
            x = run(level, x)
        x = up[2](run(up, torch.cat([x, skip], dim=1)))
        return self.final_proj(self.final_block(x))
