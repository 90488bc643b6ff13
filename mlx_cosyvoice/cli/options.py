"""What the command line asks for, as frozen values; made from argparse's namespace here and nowhere else."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

MODEL_VARIABLE = "MLX_COSYVOICE_MODEL"

#: Names that --dtype accepts: "stored" is None of `mlx_cosyvoice.load`, the rest are its own. (Importing MLX is slow.)
DTYPES = ("auto", "float32", "float16", "bfloat16", "stored")

T = TypeVar("T")


def runs(parser: argparse.ArgumentParser, kind: type[T], run: Callable[[T], int | None]) -> None:
    """Run what `parser` has parsed by `run`, which receives options of that kind and may return an exit status."""
    parser.set_defaults(run=lambda arguments: run(build(kind, arguments)))


def build(kind: type[T], arguments: argparse.Namespace) -> T:
    """The options of that kind: a field is the argument of its name, or, where its type is a dataclass, built likewise.

    Raises:
        AttributeError: the parser has no such argument.
    """
    types = get_type_hints(kind)
    values: dict[str, Any] = {
        field.name: build(types[field.name], arguments)
        if is_dataclass(types[field.name])
        else getattr(arguments, field.name)
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return kind(**values)


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and what it computes in: `arguments.add_model`."""

    model: str | None
    dtype: str

    def folder(self) -> str:
        """What --model or the environment says.

        Raises:
            ValueError: neither does.
        """
        model = self.model or os.environ.get(MODEL_VARIABLE)
        if not model:
            raise ValueError(f"no model: give --model DIR, or set {MODEL_VARIABLE}")
        return model

    @property
    def computed_in(self) -> str | None:
        """--dtype as `mlx_cosyvoice.load` accepts it."""
        return None if self.dtype == "stored" else self.dtype


@dataclass(frozen=True)
class VoiceOptions:
    """Whose voice, one of `voice`, `prompt` and `speaker`: `arguments.add_voice`.

    Attributes:
        voice: a name of the library, or a file.
        prompt: a recording ...
        prompt_start: ... from here, in seconds; None: from its beginning ...
        prompt_end: ... to here; None: to its end.
        transcript: of the prompt.
        speaker: of the model.
        voices: folder of the library; None: the user's.
    """

    voice: str | None
    prompt: str | None
    prompt_start: float | None
    prompt_end: float | None
    transcript: str | None
    speaker: str | None
    voices: str | None


@dataclass(frozen=True)
class SynthesisOptions:
    """How speech tokens become audio: `arguments.add_synthesis`. `decoding` is None where the user does not choose."""

    decoding: str | None
    speed: float
    seed: int
    steps: int


@dataclass(frozen=True)
class OutputOptions:
    """Where audio and figures go: `arguments.add_output`. `out` is a file, "-" for standard output, or None."""

    out: str | None
    format: str | None
    subtype: str | None
    force: bool
    play: bool
    json: bool
    quiet: bool


@dataclass(frozen=True)
class SpeechOptions:
    """What all commands have that make speech."""

    model: ModelOptions
    voice: VoiceOptions
    synthesis: SynthesisOptions
    output: OutputOptions
