"""A voice: what of a prompt recording the model continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Voice:
    """Everything that `CosyVoice2.clone` takes from a recording; independent of the text to speak.

    Attributes:
        prompt_token: speech tokens of the recording, int32 [1, tokens], 25 a second.
        prompt_feat: its mel, float32 [1, 2 * tokens, 80], 50 frames a second.
        embedding: speaker embedding, float32 [1, 192].
        transcript: what is said in the recording.
        prompt_text: token ids of the transcript where only those are known.
        provenance: where the voice is from.
    """

    prompt_token: np.ndarray
    prompt_feat: np.ndarray
    embedding: np.ndarray
    transcript: str = ""
    prompt_text: tuple[int, ...] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration of the part of the recording that is used."""
        return self.prompt_token.shape[1] / 25
