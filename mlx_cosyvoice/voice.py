"""A voice: what of a prompt recording the model continues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Voice:
    """Everything that `CosyVoice2.clone` takes from a recording; independent of the text to speak.

    Attributes:
        prompt_token: speech tokens of the recording, int32 [1, tokens], 25 a second.
        prompt_feat: its mel, float32 [1, 2 * tokens, 80], 50 frames a second.
        embedding: speaker embedding, float32 [1, 192].
        transcript: what is said in the recording.
    """

    prompt_token: np.ndarray
    prompt_feat: np.ndarray
    embedding: np.ndarray
    transcript: str

    @property
    def seconds(self) -> float:
        """Duration of the part of the recording that is used."""
        return self.prompt_token.shape[1] / 25
