"""What comes before audio: choosing a decoder, loading the model, finding the voice."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli.arguments import dtype_of, model_of
from mlx_cosyvoice.cli.outputs import check_outputs
from mlx_cosyvoice.cli.recordings import check_recording, part_of
from mlx_cosyvoice.quoting import plain

if TYPE_CHECKING:
    from mlx_cosyvoice import CosyVoice2, Voice


@dataclass(frozen=True)
class Prepared:
    """All that a stream needs besides what it says.

    Attributes:
        model: loaded.
        voice: whose voice.
        decoding: "offline", "official" or "incremental".
        facts: for --json.
    """

    model: CosyVoice2
    voice: Voice
    decoding: str
    facts: dict[str, Any]


def check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused without a model, which takes seconds to load.

    Raises:
        ValueError: unknown voice or format, a recording that cannot be used, or arguments that do not go together.
        OSError: the output cannot or must not be written, a file cannot be read.
    """
    model_of(arguments)
    check_outputs(arguments)
    if getattr(arguments, "transcript", None) is not None and arguments.prompt is None:
        raise ValueError("--transcript belongs to --prompt: it says what the recording says")
    part = part_of(arguments, prompt=True)
    if arguments.prompt is not None:
        check_recording(arguments.prompt, part)
    elif part:
        raise ValueError("a start and an end of the prompt belong to --prompt: they choose a part of it")
    elif arguments.voice is not None:
        _saved_voice(arguments)


def prepare(arguments: argparse.Namespace, *, arriving: bool = False) -> Prepared:
    """Load the model and find the voice.

    Args:
        arguments: of the command; see `cli.arguments`.
        arriving: the text is still being written.

    Raises:
        ValueError: there is no such model, voice or speaker; voices that there are are named.
        OSError: a file cannot be read.
    """
    from mlx_cosyvoice import CosyVoice2

    began = time.perf_counter()
    model = CosyVoice2.load(model_of(arguments), dtype=dtype_of(arguments))
    voice = _voice(arguments, model)
    decoding = arguments.decoding or _fitting_decoding(arguments, arriving)
    facts = {
        "out": arguments.out,
        "sample_rate": model.sample_rate,
        "decoding": decoding,
        "load_seconds": time.perf_counter() - began,
    }
    return Prepared(model, voice, decoding, facts)


def _fitting_decoding(arguments: argparse.Namespace, arriving: bool) -> str:
    """The best audio for a file, chunks for what is heard at once; another speed is possible offline only."""
    heard_at_once = arriving or arguments.play or arguments.out == "-"
    return "official" if heard_at_once and arguments.speed == 1 else "offline"


def _voice(arguments: argparse.Namespace, model: CosyVoice2) -> Voice:
    if arguments.prompt is not None:
        transcript = getattr(arguments, "transcript", None) or ""
        return model.clone(arguments.prompt, transcript, **part_of(arguments, prompt=True))
    if arguments.voice is not None:
        return _saved_voice(arguments)
    if arguments.speaker not in model.speakers:
        known = plain(", ".join(sorted(model.speakers)), 300)
        has = f"it has {known}" if known else "it has none; use --prompt or --voice"
        raise ValueError(f"the model has no speaker {arguments.speaker!r}: {has}")
    return model.speakers[arguments.speaker]


def _saved_voice(arguments: argparse.Namespace) -> Voice:
    from mlx_cosyvoice.voices import Voice, VoiceLibrary

    file = Path(arguments.voice)
    if file.suffix == ".safetensors" and file.is_file():
        return Voice.load(file)
    return VoiceLibrary(arguments.voices).get(arguments.voice)
