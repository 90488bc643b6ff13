"""A prompt: what the networks continue."""

from __future__ import annotations

from dataclasses import dataclass, field

import mlx.core as mx


@dataclass(frozen=True)
class Prompt:
    """What stands before an utterance: for the flow a voice's sound, for the language model text and speech.

    `Voice` is what is saved of a recording; which of it a prompt has depends on the mode (`speech.modes`).

    Attributes:
        prompt_token: [1, N] integer speech tokens that the flow continues; N may be 0.
        prompt_feat: [1, 2N, 80] their mel.
        embedding: [1, 192] of the speaker. All three are evaluated.
        prompt_text: ids that stand before those of the text.
        opening: how many of them, from the first, are no transcript but a system prompt and an instruction, which are
            run at once where text arrives piece by piece.
        llm_prompt_token: speech tokens that the language model continues.

    Raises:
        ValueError: an array of another shape.
    """

    prompt_token: mx.array
    prompt_feat: mx.array
    embedding: mx.array
    prompt_text: tuple[int, ...] = field(default=(), kw_only=True)
    opening: int = field(default=0, kw_only=True)
    llm_prompt_token: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.prompt_token.ndim != 2 or self.prompt_token.shape[0] != 1:
            raise ValueError(f"prompt_token must be [1, N], not {list(self.prompt_token.shape)}")
        frames = 2 * self.tokens
        if self.prompt_feat.ndim != 3 or self.prompt_feat.shape[:2] != (1, frames):
            raise ValueError(
                f"prompt_feat must be [1, {frames}, 80] for {self.tokens} prompt tokens (2 frames each), not "
                f"{list(self.prompt_feat.shape)}"
            )
        if self.embedding.ndim != 2 or self.embedding.shape[0] != 1:
            raise ValueError(f"embedding must be [1, 192], not {list(self.embedding.shape)}")
        mx.eval(*self.arrays)

    @property
    def arrays(self) -> tuple[mx.array, mx.array, mx.array]:
        """What the flow continues, in the order of its arguments."""
        return self.prompt_token, self.prompt_feat, self.embedding

    @property
    def transcript(self) -> tuple[int, ...]:
        """What follows the opening."""
        return self.prompt_text[self.opening :]

    @property
    def tokens(self) -> int:
        """How many prompt tokens there are."""
        return self.prompt_token.shape[1]
