"""The flow stage, speech tokens to mel: `cosyvoice.flow.flow.CausalMaskedDiffWithXvec`, its CFM solver, and what other
families' stages share with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference.flow_decoder import CausalConditionalDecoder
from reference.upsample_encoder import UpsampleConformerEncoder

NOISE_FRAMES = 50 * 300


def fixed_noise(channels: int) -> Tensor:
    """[1, channels, 15000]: what every official synthesis starts from; a generator of our own leaves torch's alone."""
    return torch.randn(1, channels, NOISE_FRAMES, generator=torch.Generator().manual_seed(0))


def euler_schedule(n_timesteps: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """The (time, step) pairs of the solver on 1 - cos(pi t / 2); times are summed up, as the official loop does."""
    times = 1 - torch.cos(torch.linspace(0, 1, n_timesteps + 1, dtype=dtype) * 0.5 * torch.pi)
    t = times[0]
    for end in times[1:]:
        dt = end - t
        yield t, dt
        t = t + dt


class CausalConditionalCFM(nn.Module):
    """`decoder`: Euler steps along the estimator's velocity with classifier-free guidance.

    `rand_noise` is no part of the state dict, as in the official code. `config` has the fields of `CFMConfig`, and
    `estimator` is the network of its `estimator`.
    """

    def __init__(self, config: Mapping[str, Any], estimator: nn.Module) -> None:
        super().__init__()
        self.inference_cfg_rate = config["inference_cfg_rate"]
        self.estimator = estimator
        self.rand_noise = fixed_noise(config["estimator"]["out_channels"])

    def starting_noise(self, frames: int, noise: Tensor | None) -> Tensor:
        """The first `frames` frames of `noise` or, if it is None, of `rand_noise`: [1, 80, frames].

        Raises:
            ValueError: there are fewer frames of noise than that.
        """
        source = self.rand_noise if noise is None else noise
        if source.shape[2] < frames:
            raise ValueError(f"{frames} mel frames are asked for, but the noise has {source.shape[2]} (50 are 1 s)")
        return source[:, :, :frames]

    def forward(
        self,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        *,
        n_timesteps: int = 10,
        noise: Tensor | None = None,
        streaming: bool,
    ) -> Tensor:
        """mu [1, 80, T], spks [1, 80], cond [1, 80, T], noise [1, 80, >= T] or None -> mel [1, 80, T].

        The mel has mu's dtype, or float32 where that is a half precision.
        """
        precise = torch.promote_types(mu.dtype, torch.float32)
        x = self.starting_noise(mu.shape[2], noise).to(mu.device, precise)
        # Batch entry 0 is conditioned; entry 1, the unconditioned one, gets zeros for everything but the noisy mel.
        mu, spks, cond = (torch.cat([array, torch.zeros_like(array)]) for array in (mu, spks, cond))
        for t, dt in euler_schedule(n_timesteps, precise):
            velocity = self.estimator(
                x.to(mu.dtype).expand(2, -1, -1), mu, t.to(x.device).expand(2), spks, cond, streaming=streaming
            )
            with_condition, without = velocity.to(precise).split(1)
            guided = (1 + self.inference_cfg_rate) * with_condition - self.inference_cfg_rate * without
            x = x + dt * guided
        return x


class CausalMaskedDiff(nn.Module):
    """What the stages have in common. A family's adds the layers between the embedding and mu, and its `decoder`."""

    decoder: CausalConditionalCFM

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.token_mel_ratio, self.pre_lookahead_len = config["token_mel_ratio"], config["pre_lookahead_len"]
        self.input_embedding = nn.Embedding(config["vocab_size"], config["input_size"])
        self.spk_embed_affine_layer = nn.Linear(config["spk_embed_dim"], config["output_size"])

    def mu(self, x: Tensor, context: Tensor | None, *, streaming: bool) -> Tensor:
        """mu [1, 2T, 80] of embedded tokens x [1, T, C]; `context` [1, lookahead, C], or None at the end of speech."""
        raise NotImplementedError

    def encode(
        self,
        token: Tensor,
        prompt_token: Tensor,
        prompt_feat: Tensor,
        embedding: Tensor,
        *,
        streaming: bool,
        finalize: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder is conditioned on.

        Args:
            token: [1, N] int64 speech tokens; with `finalize=False` the last 3 are lookahead only.
            prompt_token: [1, P] int64, P may be 0.
            prompt_feat: [1, 2P, 80] the prompt's mel.
            embedding: [1, 192] the speaker's.
            streaming: chunked attention.
            finalize: `token` holds the end of the utterance.

        Returns:
            mu [1, 80, T], spks [1, 80], cond [1, 80, T], T counting prompt and new frames.
        """
        dtype = self.spk_embed_affine_layer.weight.dtype
        spks = self.spk_embed_affine_layer(F.normalize(embedding.to(dtype), dim=1))
        x = self.input_embedding(torch.cat([prompt_token, token], dim=1).clamp(min=0))
        context = None
        if not finalize:
            x, context = x[:, : -self.pre_lookahead_len], x[:, -self.pre_lookahead_len :]
        mu = self.mu(x, context, streaming=streaming).transpose(1, 2)
        cond = torch.zeros_like(mu)
        cond[:, :, : prompt_feat.shape[1]] = prompt_feat.transpose(1, 2)
        return mu, spks, cond

    def inference(
        self,
        token: Tensor,
        prompt_token: Tensor,
        prompt_feat: Tensor,
        embedding: Tensor,
        *,
        streaming: bool,
        finalize: bool,
        n_timesteps: int = 10,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The mel of the new tokens (arguments as for `encode` and the decoder): [1, 80, 2 (N - lookahead)].

        Raises:
            ValueError: prompt and speech are longer than the noise (300 s).
        """
        tokens = prompt_token.shape[1] + token.shape[1] - (0 if finalize else self.pre_lookahead_len)
        start = self.decoder.starting_noise(tokens * self.token_mel_ratio, noise)
        mu, spks, cond = self.encode(
            token, prompt_token, prompt_feat, embedding, streaming=streaming, finalize=finalize
        )
        mel = self.decoder(mu, spks, cond, n_timesteps=n_timesteps, noise=start, streaming=streaming)
        return mel[:, :, prompt_feat.shape[1] :]


class CausalMaskedDiffWithXvec(CausalMaskedDiff):
    """The whole stage; its state dict is `flow.pt`. `config` has the fields of `FlowConfig`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.encoder = UpsampleConformerEncoder(
            config["encoder"], lookahead=self.pre_lookahead_len, upsampling=self.token_mel_ratio
        )
        self.encoder_proj = nn.Linear(config["encoder"]["output_size"], config["output_size"])
        estimator = CausalConditionalDecoder(config["decoder"]["estimator"])
        self.decoder = CausalConditionalCFM(config["decoder"], estimator)

    def mu(self, x: Tensor, context: Tensor | None, *, streaming: bool) -> Tensor:
        return self.encoder_proj(self.encoder(x, context, streaming=streaming))


def build(config: Mapping[str, Any]) -> CausalMaskedDiffWithXvec:
    """The flow stage of `config` (the fields of `FlowConfig`, nested), in evaluation mode, with random weights."""
    return CausalMaskedDiffWithXvec(config).eval().requires_grad_(False)
