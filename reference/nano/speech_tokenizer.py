"""Stage 1, the speech tokenizer: supervised, as the CosyVoice 2 paper has it (section 2.2).

There the quantizer sits within a recogniser, whose encoder goes on behind it; here the recogniser spells phones (CTC).
A second head draws the mel, told the speaker, with a small weight: it keeps some of the prosody in the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.nano.corpus import Corpus, Utterance
from reference.nano.voices import VARIANTS
from reference.speech_tokenizer import DIGITS, ResidualAttentionBlock, S3TokenizerV2, codes, rotary_table

#: Digits of a token that may differ from 1: few codes make the language model's work easier.
DIGITS_IN_USE = 5
#: What is added before rounding, uniform on either side: codes that stand far from the rounding edges.
NOISE = 0.45
#: Of the mel's squared error beside the CTC loss.
MEL_WEIGHT = 0.3
SPEAKER_WIDTH, BLOCKS = 16, 2
#: The mel is drawn in these units.
MEL_MEAN, MEL_STD = -5.0, 2.1
BLANK = 0


def phone_table(corpus: Corpus) -> dict[str, int]:
    """Phone -> its CTC class, from 1 on."""
    found = sorted({phone for utterance in corpus.utterances for phone in utterance.phones})
    return {phone: number for number, phone in enumerate(found, start=1)}


def quantized(before: Tensor, noise: float = 0.0) -> Tensor:
    """Digits -1, 0, 1 of [..., 8] values, with the gradient of the values (straight through)."""
    used = (torch.arange(DIGITS, device=before.device) < DIGITS_IN_USE).to(before)
    noisy = before + noise * (2 * torch.rand_like(before) - 1)
    return (before + (noisy.round().clamp(-1, 1) - before).detach()) * used


def digits(tokens: Tensor) -> Tensor:
    """The digits [..., 8] of tokens, less one: what `codes` puts together."""
    return (tokens[..., None] // 3 ** torch.arange(DIGITS) % 3 - 1).float()


class Supervised(nn.Module):
    """The tokenizer, and what is behind it while it is trained: `ctc` over phones and `mel`."""

    def __init__(self, config: Mapping[str, Any], phones: int) -> None:
        super().__init__()
        width = config["n_audio_state"]
        self.head_dim = width // config["n_audio_head"]
        self.tokenizer = S3TokenizerV2(config)
        down = self.tokenizer.quantizer._codebook.project_down
        with torch.no_grad():  # never trained either: `quantized` gives these digits no gradient
            down.weight[DIGITS_IN_USE:] = 0
            down.bias[DIGITS_IN_USE:] = 0
        self.up = nn.Linear(DIGITS, width)
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(width, config["n_audio_head"], config["attn_ln_eps"], config["mlp_ln_eps"])
            for _ in range(BLOCKS)
        )
        self.norm = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, phones + 1)
        self.speaker = nn.Embedding(len(VARIANTS), SPEAKER_WIDTH)
        self.mel = nn.Sequential(nn.Linear(width + SPEAKER_WIDTH, 2 * width), nn.GELU(), nn.Linear(2 * width, 160))

    def behind(self, digits: Tensor) -> Tensor:
        """[B, T, 8] digits to [B, T, width]."""
        x = self.up(digits)
        cos, sin = rotary_table(x.shape[1], self.head_dim, x)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def forward(self, log_mel: Tensor, variant: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        """log_mel [B, 128, 4T], variant [B] to CTC logits [B, T, phones + 1] and the mel [B, 2T, 80], normalised."""
        x = self.behind(quantized(self.tokenizer.before_rounding(log_mel), noise))
        speaker = self.speaker(variant)[:, None].expand(-1, x.shape[1], -1)
        return self.ctc(x), self.mel(torch.cat([x, speaker], dim=2)).unflatten(2, (2, 80)).flatten(1, 2)

    @torch.inference_mode()
    def spelled(self, tokens: Tensor) -> list[int]:
        """The phones' classes that the recogniser reads in tokens [T]."""
        best = self.ctc(self.behind(digits(tokens)[None]))[0].argmax(1).tolist()
        return [now for now, before in zip(best, [BLANK, *best], strict=False) if now not in (BLANK, before)]


@dataclass(frozen=True)
class TokenizerStage:
    """Its losses and its check, for `training.train`."""

    train: Corpus
    held_out: Mapping[str, Corpus]
    phones: Mapping[str, int]
    batch: int = 16

    def losses(self, network: Supervised, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        batch = self.train.batch(self.batch, rng)
        log_mel = self.train.stack("log_mel", batch).transpose(1, 2)
        logits, mel = network(log_mel, torch.tensor([utterance.variant for utterance in batch]), NOISE)
        targets = [torch.tensor([self.phones[phone] for phone in utterance.phones]) for utterance in batch]
        lengths = torch.tensor([len(target) for target in targets])
        ctc = F.ctc_loss(
            logits.log_softmax(2).transpose(0, 1),
            torch.cat(targets),
            torch.full((len(batch),), logits.shape[1]),
            lengths,
            BLANK,
            zero_infinity=True,
        )
        true = (self.train.stack("mel", batch) - MEL_MEAN) / MEL_STD
        drawn = F.mse_loss(mel, true)
        return {"loss": ctc + MEL_WEIGHT * drawn, "ctc": ctc, "mel": drawn}

    def check(self, network: Supervised) -> dict[str, float]:
        figures: dict[str, float] = {}
        for split, corpus in self.held_out.items():
            tokens = tokenize(network.tokenizer, corpus.utterances, corpus)
            errors = sum(
                edits(network.spelled(found), [self.phones[phone] for phone in utterance.phones])
                for found, utterance in zip(tokens, corpus.utterances, strict=True)
            )
            figures[f"{split} phone error"] = errors / sum(len(utterance.phones) for utterance in corpus.utterances)
        _, counts = torch.cat(tokens).unique(return_counts=True)
        shares = counts / counts.sum()
        return {**figures, "codes": float(len(counts)), "perplexity": float((-(shares * shares.log()).sum()).exp())}


@torch.inference_mode()
def tokenize(tokenizer: S3TokenizerV2, utterances: Sequence[Utterance], corpus: Corpus) -> list[Tensor]:
    """The tokens [T] int64 of each utterance."""
    return [
        codes(tokenizer.before_rounding(corpus.array("log_mel", utterance).T[None]))[0].long()
        for utterance in utterances
    ]


def edits(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    """How many insertions, deletions and substitutions lie between two sequences (Levenshtein)."""
    row = list(range(len(wanted) + 1))
    for index, left in enumerate(found, start=1):
        above, row[0] = row[0], index
        for column, right in enumerate(wanted, start=1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (left != right))
    return row[-1]
