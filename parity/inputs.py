"""What a run works on: a recording, its transcript, and a text to speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_cosyvoice.audio import MAX_PROMPT_SECONDS, load_audio

#: The recording that the project ships.
SAMPLE = Path(__file__).parent / "data" / "sample.wav"

DEFAULT_TEXT = "Every stage is compared, layer by layer, with the official model."


def load_inputs(recording: str | Path | None = None, transcript: str = "", text: str = DEFAULT_TEXT) -> dict[str, Any]:
    """Read a recording at both rates that the model wants.

    Raises:
        AudioError: the file is not audio, empty, silent, or longer than the 30 s that the speech tokenizer accepts.
    """
    path = Path(recording) if recording else SAMPLE
    if not recording:
        transcript = transcript or SAMPLE.with_suffix(".txt").read_text(encoding="utf-8").strip()
    return {
        "wave16": load_audio(path, 16000, max_seconds=MAX_PROMPT_SECONDS),
        "wave24": load_audio(path, 24000),
        "text": text,
        "transcript": transcript,
    }


def shortened(inputs: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The same with the beginning of the recording alone."""
    cut = {name: inputs[name][: int(rate * seconds)] for name, rate in (("wave16", 16000), ("wave24", 24000))}
    return inputs | cut
