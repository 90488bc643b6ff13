"""What comes before audio: choosing a decoder, loading the model, finding the voice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli.options import SpeechOptions, VoiceOptions
from mlx_cosyvoice.cli.outputs import check_outputs
from mlx_cosyvoice.cli.recordings import check_recording
from mlx_cosyvoice.quoting import plain

if TYPE_CHECKING:
    from mlx_cosyvoice import Voice
    from mlx_cosyvoice.model import SpeechModel


@dataclass(frozen=True)
class Prepared:
    """All that a stream needs besides what it says.

    Attributes:
        model: loaded.
        voice: whose voice.
        decoding: "offline", "official" or "incremental".
        facts: for --json.
    """

    model: SpeechModel
    voice: Voice
    decoding: str
    facts: dict[str, Any]


def check(options: SpeechOptions) -> None:
    """Refuse what can be refused without a model, which takes seconds to load.

    Raises:
        ValueError: unknown voice or format, a recording that cannot be used, or arguments that do not go together.
        OSError: the output cannot or must not be written, a file cannot be read.
    """
    voice = options.voice
    options.model.folder()
    check_outputs(options.output)
    if voice.transcript is not None and voice.prompt is None:
        raise ValueError("--transcript belongs to --prompt: it says what the recording says")
    if voice.prompt is not None:
        check_recording(voice.prompt, voice.prompt_start, voice.prompt_end)
    elif voice.prompt_start is not None or voice.prompt_end is not None:
        raise ValueError("a start and an end of the prompt belong to --prompt: they choose a part of it")
    elif voice.voice is not None:
        _saved_voice(voice.voice, voice.voices)


def prepare(options: SpeechOptions, *, arriving: bool = False) -> Prepared:
    """Load the model and find the voice.

    Args:
        options: of the command.
        arriving: the text is still being written.

    Raises:
        ValueError: there is no such model, voice or speaker; voices that there are are named.
        OSError: a file cannot be read.
    """
    from mlx_cosyvoice import load

    began = time.perf_counter()
    model = load(options.model.folder(), dtype=options.model.computed_in)
    voice = _voice(options.voice, model)
    decoding = options.synthesis.decoding or _fitting_decoding(options, arriving)
    facts = {
        "out": options.output.out,
        "sample_rate": model.sample_rate,
        "decoding": decoding,
        "load_seconds": time.perf_counter() - began,
    }
    return Prepared(model, voice, decoding, facts)


def _fitting_decoding(options: SpeechOptions, arriving: bool) -> str:
    """The best audio for a file, chunks for what is heard at once; another speed is possible offline only."""
    heard_at_once = arriving or options.output.play or options.output.out == "-"
    return "official" if heard_at_once and options.synthesis.speed == 1 else "offline"


def _voice(options: VoiceOptions, model: SpeechModel) -> Voice:
    if options.prompt is not None:
        start, end = options.prompt_start or 0.0, options.prompt_end
        return model.clone(options.prompt, options.transcript or "", start=start, end=end)
    if options.voice is not None:
        return _saved_voice(options.voice, options.voices)
    assert options.speaker is not None  # the parser demands one of the three
    if options.speaker not in model.speakers:
        known = plain(", ".join(sorted(model.speakers)), 300)
        has = f"it has {known}" if known else "it has none; use --prompt or --voice"
        raise ValueError(f"the model has no speaker {options.speaker!r}: {has}")
    return model.speakers[options.speaker]


def _saved_voice(name: str, folder: str | None) -> Voice:
    from mlx_cosyvoice.voices import Voice, VoiceLibrary

    file = Path(name)
    if file.suffix == ".safetensors" and file.is_file():
        return Voice.load(file)
    return VoiceLibrary(folder).get(name)
