"""Stages 4 and 5, the flow: first the encoder, whose mu is to be the mel, then the velocity field on that mu.

The velocity field is trained with the official loss (`compute_loss` of `cosyvoice.flow.flow_matching`): half of the
batches with the streaming masks, conditions dropped for a fifth, a prompt's mel for half of the rest. Trained at once,
both take several times as long at this size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.flow import CausalMaskedDiffWithXvec
from reference.flow_decoder import BasicTransformerBlock, CausalResnetBlock1D
from reference.nano.corpus import Corpus
from reference.nano.llm import EMBEDDING_STD

MEL_MEAN, MEL_STD = -5.0, 2.3
#: How much of a residual branch is left at the start.
BRANCH = 0.1
#: Of the official loss: conditions dropped, streaming masks, prompts; and how often a prompt is the whole first part.
DROPPED, STREAMING, PROMPTED, WHOLE_PROMPT = 0.2, 0.5, 0.5, 0.5
#: The longest random prompt, as a share of the piece.
LONGEST_PROMPT = 0.3
#: Pairs that are drawn for one batch, of which those of like length are taken.
DRAWN = 4


@dataclass(frozen=True)
class Batch:
    """token [B, T], mel [B, 2T, 80], embedding [B, 192], and how many frames of each belong to its first part."""

    token: Tensor
    mel: Tensor
    embedding: Tensor
    first: list[int]


@dataclass
class Pairs:
    """Draws utterances and pairs of one speaker's, cut to one length.

    Attributes:
        corpus: of training.
        tokens: of its utterances.
        embeddings: [utterances, 192].
    """

    corpus: Corpus
    tokens: Sequence[Tensor]
    embeddings: Tensor
    _alike: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, utterance in enumerate(self.corpus.utterances):
            self._alike.setdefault(utterance.variant, []).append(index)

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        drawn = [self._drawn(rng) for _ in range(DRAWN * size)]
        drawn.sort(key=lambda indices: sum(len(self.tokens[index]) for index in indices))
        place = int(rng.integers(len(drawn) - size + 1))
        chosen = drawn[place : place + size]
        length = min(sum(len(self.tokens[index]) for index in indices) for indices in chosen)
        tokens, mels, first = [], [], []
        for indices in chosen:
            token = torch.cat([self.tokens[index] for index in indices])
            mel = torch.cat([self.corpus.array("mel", self.corpus.utterances[index]) for index in indices])
            start = int(rng.integers(len(token) - length + 1))
            tokens.append(token[start : start + length])
            mels.append(mel[2 * start : 2 * (start + length)])
            first.append(2 * max(0, len(self.tokens[indices[0]]) - start) if len(indices) > 1 else 0)
        embedding = self.embeddings[[indices[0] for indices in chosen]]
        return Batch(torch.stack(tokens), torch.stack(mels), embedding, first)

    def _drawn(self, rng: np.random.Generator) -> list[int]:
        first = int(rng.integers(len(self.tokens)))
        alike = self._alike[self.corpus.utterances[first].variant]
        return [first, alike[rng.integers(len(alike))]] if rng.random() < 0.5 else [first]


def new_network(config: Mapping[str, Any]) -> CausalMaskedDiffWithXvec:
    """An untrained flow; its mu begins at the mean of all mels, its velocity field as mu - x."""
    network = CausalMaskedDiffWithXvec(config)
    with torch.no_grad():
        nn.init.normal_(network.input_embedding.weight, std=EMBEDDING_STD)
        network.encoder_proj.bias.fill_(MEL_MEAN)
    begin_as_identity(network.decoder.estimator)
    return network


@torch.no_grad()
def begin_as_identity(estimator: Any) -> None:
    """Residual paths hand on x and mu, side by side, and the last layers take their difference.

    The difference goes through a norm and a Mish, as does its negative: mish(a) - mish(-a) is nearly a.
    """
    bands = estimator.final_proj.out_channels
    for module in estimator.modules():
        if isinstance(module, CausalResnetBlock1D):
            _hand_on(module.res_conv)
            _weaken(module.block2.block[2])
        elif isinstance(module, BasicTransformerBlock):
            _weaken(module.attn1.to_out[0])
            _weaken(module.ff.net[2])
    for levels in (estimator.down_blocks, estimator.up_blocks):
        _hand_on(levels[0][2])
    conv, norm, proj = estimator.final_block.block[0], estimator.final_block.block[2], estimator.final_proj
    conv.weight.zero_()
    conv.bias.zero_()
    proj.weight.zero_()
    proj.bias.fill_(MEL_MEAN)
    for sign, row in ((1, 0), (-1, bands)):
        for band in range(bands):
            conv.weight[row + band, bands + band, -1] = sign
            conv.weight[row + band, band, -1] = -sign
            proj.weight[band, row + band] = sign
        conv.bias[row : row + bands] = -sign * MEL_MEAN
    norm.weight.fill_(MEL_STD)


def _weaken(last_of_branch: Any) -> None:
    last_of_branch.weight *= BRANCH


def _hand_on(conv: Any) -> None:
    """A convolution that gives its first input channels, of this frame."""
    conv.weight *= BRANCH
    conv.bias.zero_()
    for channel in range(conv.out_channels):
        conv.weight[channel, channel, -1] += 1


@dataclass(frozen=True)
class EncoderStage:
    """The encoder's losses and check, for `training.train`."""

    pairs: Pairs
    held_out: Mapping[str, Corpus]
    tokens: Mapping[str, Sequence[Tensor]]
    batch: int = 12

    def losses(self, network: CausalMaskedDiffWithXvec, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        batch = self.pairs.batch(self.batch, rng)
        mu = network.mu(network.input_embedding(batch.token), None, streaming=bool(rng.random() < STREAMING))
        return {"loss": F.mse_loss(mu, batch.mel)}

    @torch.inference_mode()
    def check(self, network: CausalMaskedDiffWithXvec) -> dict[str, float]:
        figures = {}
        for split, corpus in self.held_out.items():
            errors = [
                float(F.mse_loss(network.mu(network.input_embedding(token[None]), None, streaming=False)[0], mel))
                for token, mel in zip(
                    self.tokens[split], (corpus.array("mel", one) for one in corpus.utterances), strict=True
                )
            ]
            figures[f"{split} mu"] = sum(errors) / len(errors)
        return figures


@dataclass(frozen=True)
class FlowStage:
    """The velocity field's losses and check. `embeddings`: [utterances, 192] of every split."""

    pairs: Pairs
    held_out: Mapping[str, Corpus]
    tokens: Mapping[str, Sequence[Tensor]]
    embeddings: Mapping[str, Tensor]
    batch: int = 8
    checks: int = 8

    def losses(self, network: CausalMaskedDiffWithXvec, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        batch, streaming = self.pairs.batch(self.batch, rng), bool(rng.random() < STREAMING)
        with torch.no_grad():
            mu = network.mu(network.input_embedding(batch.token), None, streaming=streaming).transpose(1, 2)
        mel = batch.mel.transpose(1, 2)
        spks = network.spk_embed_affine_layer(F.normalize(batch.embedding, dim=1))
        cond = torch.zeros_like(mel)
        for row, first in enumerate(batch.first):
            if rng.random() < PROMPTED:
                whole = first > 0 and rng.random() < WHOLE_PROMPT
                end = first if whole else int(rng.integers(int(LONGEST_PROMPT * mel.shape[2]) + 1))
                cond[row, :, :end] = mel[row, :, :end]
        kept = (torch.rand(len(mel), 1, 1) >= DROPPED).float()
        t, noise = torch.rand(len(mel), 1, 1), torch.randn_like(mel)
        velocity = network.decoder.estimator(
            (1 - t) * noise + t * mel, mu * kept, t[:, 0, 0], spks * kept[:, :, 0], cond * kept, streaming=streaming
        )
        return {"loss": F.mse_loss(velocity, mel - noise)}

    @torch.inference_mode()
    def check(self, network: CausalMaskedDiffWithXvec) -> dict[str, float]:
        """True tokens, prompted with another utterance: the mel's mean error, and its mean and spread less the true."""
        figures: dict[str, float] = {}
        for split, corpus in self.held_out.items():
            found, true = [], []
            for index in range(0, len(corpus.utterances), max(1, len(corpus.utterances) // self.checks)):
                found.append(self.drawn(network, split, index))
                true.append(corpus.array("mel", corpus.utterances[index]).T)
            mine, wanted = torch.cat(found, dim=1), torch.cat(true, dim=1)
            figures |= {
                f"{split} mel": float((mine - wanted).abs().mean()),
                f"{split} mean": float(mine.mean() - wanted.mean()),
                f"{split} std": float(mine.std() / wanted.std()),
            }
        return figures

    def drawn(self, network: CausalMaskedDiffWithXvec, split: str, index: int) -> Tensor:
        """The mel [80, frames] of one utterance's tokens in the voice of the next one of its variant."""
        corpus = self.held_out[split]
        variant = corpus.utterances[index].variant
        alike = [at for at, one in enumerate(corpus.utterances) if one.variant == variant]
        prompt = alike[(alike.index(index) + 1) % len(alike)]
        return network.inference(
            self.tokens[split][index][None],
            self.tokens[split][prompt][None],
            corpus.array("mel", corpus.utterances[prompt])[None],
            self.embeddings[split][prompt][None],
            streaming=False,
            finalize=True,
        )[0]
