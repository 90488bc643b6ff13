"""What a stream measured about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Metrics:
    """Filled while a `SpeechStream` runs; final when it has ended.

    Attributes:
        first_chunk_seconds: from the call of `stream` until the first chunk was there; None before.
        seconds: from the call of `stream` until the newest chunk was there.
        audio_seconds: duration of all chunks.
        chunks: how many.
        segments: utterances that were finished; a long text is cut into several.
        speech_tokens: passed to the flow, 25 a second.
        prompt_positions: positions of the voice's prompt text that the language model had to run.
        prompt_positions_reused: those that it knew from before.
    """

    first_chunk_seconds: float | None = None
    seconds: float = 0.0
    audio_seconds: float = 0.0
    chunks: int = 0
    segments: int = 0
    speech_tokens: int = 0
    prompt_positions: int = 0
    prompt_positions_reused: int = 0

    @property
    def real_time_factor(self) -> float | None:
        """Seconds waited for each second of audio; below 1 is faster than speech. None without audio."""
        return self.seconds / self.audio_seconds if self.audio_seconds else None
