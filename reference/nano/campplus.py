"""Stage 3, the speaker encoder: a small CAM++ that tells the variants apart, as 3D-Speaker trains the large one.

What is compared is the angle between embedding and class (a cosine softmax), since the flow reads the embedding's
direction alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.campplus import CAMPPlus
from reference.nano.corpus import Corpus, Utterance
from reference.nano.voices import VARIANTS

#: Cosines are multiplied by this before the softmax; and the share of the target that the other classes get.
SCALE, SMOOTHING = 16.0, 0.1
#: Frames (10 ms) of a piece: at least, at most.
PIECE = (50, 80)


def speaker_class(variant: int) -> int:
    """Variants that are equal are one speaker."""
    return VARIANTS.index(VARIANTS[variant])


class Classifier(nn.Module):
    """The encoder, and a direction for every variant."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = CAMPPlus(config)
        self.classes = nn.Parameter(torch.randn(len(VARIANTS), config["embedding_size"]))

    def forward(self, fbank: Tensor) -> Tensor:
        """[B, T, 80] to logits [B, variants]."""
        return SCALE * F.normalize(self.encoder(fbank), dim=1) @ F.normalize(self.classes, dim=1).T


@dataclass(frozen=True)
class SpeakerStage:
    """Its losses and its check, for `training.train`."""

    train: Corpus
    held_out: Mapping[str, Corpus]
    batch: int = 16

    def losses(self, network: Classifier, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        indices = rng.integers(len(self.train.utterances), size=self.batch)
        batch = [self.train.utterances[index] for index in indices]
        fbanks = [self.train.array("fbank", utterance) for utterance in batch]
        length = min(int(rng.integers(PIECE[0], PIECE[1] + 1)), *map(len, fbanks))
        starts = [int(rng.integers(len(fbank) - length + 1)) for fbank in fbanks]
        piece = torch.stack([fbank[start : start + length] for fbank, start in zip(fbanks, starts, strict=True)])
        piece = piece - piece.mean(1, keepdim=True)
        wanted = torch.tensor([speaker_class(utterance.variant) for utterance in batch])
        logits = network(piece)
        loss = F.cross_entropy(logits, wanted, label_smoothing=SMOOTHING)
        return {"loss": loss, "accuracy": (logits.argmax(1) == wanted).float().mean()}

    @torch.inference_mode()
    def check(self, network: Classifier) -> dict[str, float]:
        """On test strings: variants told right; on held-out variants: the nearest other utterance is of the same."""
        test, held = self.held_out["test"], self.held_out["held"]
        right = [
            int(network(test.array("fbank", one)[None]).argmax()) == speaker_class(one.variant)
            for one in test.utterances
        ]
        found = F.normalize(embeddings(network.encoder, held.utterances, held), dim=1)
        alike = found @ found.T - 2 * torch.eye(len(found))
        nearest = alike.argmax(1)
        same = [
            held.utterances[int(at)].variant == one.variant for at, one in zip(nearest, held.utterances, strict=True)
        ]
        return {"test variants told": sum(right) / len(right), "held nearest is own": sum(same) / len(same)}


@torch.inference_mode()
def embeddings(encoder: CAMPPlus, utterances: Sequence[Utterance], corpus: Corpus) -> Tensor:
    """[utterances, 192]."""
    return torch.cat([encoder(corpus.array("fbank", utterance)[None]) for utterance in utterances])
