"""`mlx-cosyvoice voices`: the library of voices."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_cosyvoice.cli import interrupts
from mlx_cosyvoice.cli.arguments import add_model
from mlx_cosyvoice.cli.options import ModelOptions, runs
from mlx_cosyvoice.cli.recordings import add_part, check_recording
from mlx_cosyvoice.cli.table import columns, shorten, size
from mlx_cosyvoice.quoting import plain

if TYPE_CHECKING:
    from mlx_cosyvoice.voices import Voice, VoiceLibrary

T = TypeVar("T")

NAME = "voices"
HELP = "Keep voices in a library: add one from a recording, list, show, remove, export and import them."

_ABOUT = f"""{HELP}

A voice is taken from a recording of 3 to 30 s once, and is then known by its name. The library is a folder with one
file a voice: --voices DIR, else $MLX_COSYVOICE_VOICES, else a folder of yours that `list` prints."""

_EXAMPLES = """examples:
  mlx-cosyvoice voices add anna anna.wav --transcript "What Anna says in it." --model DIR
  mlx-cosyvoice voices list
  mlx-cosyvoice voices show anna
  mlx-cosyvoice voices export anna anna.safetensors
  mlx-cosyvoice voices import anna.safetensors --name anna2
  mlx-cosyvoice voices import CosyVoice2-0.5B/spk2info.pt --speaker 中文女
  mlx-cosyvoice voices remove anna2"""

_ADD_EXAMPLES = """examples:
  mlx-cosyvoice voices add anna anna.wav --transcript "What Anna says in it." --model DIR
  mlx-cosyvoice voices add anna anna.wav --transcript "$(cat anna.txt)" --model DIR --force
  mlx-cosyvoice voices add anna talk.mp3 --start 1:02 --end 1:14.5 --transcript "What Anna says there." --model DIR"""

_IMPORT_EXAMPLES = """examples:
  mlx-cosyvoice voices import anna.safetensors
  mlx-cosyvoice voices import anna.safetensors --name "Anna from work"
  mlx-cosyvoice voices import CosyVoice2-0.5B/spk2info.pt
  mlx-cosyvoice voices import CosyVoice2-0.5B/spk2info.pt --speaker 中文女 --name lin"""

_NO_TRANSCRIPT = (
    "mlx-cosyvoice: warning: without --transcript the voice speaks in modes cross_lingual and instruct2 only, "
    "not in zero_shot"
)


@dataclass(frozen=True)
class LibraryOptions:
    """What every action has: the library's folder, None for the user's, and whether to print JSON."""

    voices: Path | None
    json: bool

    @property
    def library(self) -> VoiceLibrary:
        """The library of that folder."""
        from mlx_cosyvoice.voices import VoiceLibrary

        return VoiceLibrary(self.voices)


@dataclass(frozen=True)
class NamedOptions(LibraryOptions):
    """An action on one voice."""

    name: str


@dataclass(frozen=True)
class AddOptions(NamedOptions):
    """A voice taken from the recording `prompt` between `start` and `end`, in seconds; `force` replaces one."""

    prompt: Path
    start: float | None
    end: float | None
    transcript: str
    model: ModelOptions
    force: bool


@dataclass(frozen=True)
class ExportOptions(NamedOptions):
    """A voice written to `file`; `force` replaces one."""

    file: Path
    force: bool


@dataclass(frozen=True)
class ImportOptions(LibraryOptions):
    """Voices read from `file`: those of `speaker`, all where it is empty; the only one may have another `name`."""

    file: Path
    name: str | None
    speaker: list[str]
    force: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--voices", metavar="DIR", type=Path, help="the library's folder")
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)

    def action(
        name: str, text: str, kind: type[T], run: Callable[[T], None], examples: str | None = None
    ) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=examples,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        runs(made, kind, run)
        return made

    force = {"action": "store_true", "help": "replace what has that name"}

    add = action("add", "take a voice from a recording", AddOptions, _add, _ADD_EXAMPLES)
    add.add_argument("name", metavar="NAME", help="what to call the voice; letters of any script")
    add.add_argument("prompt", metavar="PROMPT.wav", type=Path, help="a recording of 3 to 30 s; wav, flac, ogg, mp3")
    add_part(add, "the recording")
    add.add_argument("--transcript", metavar="TEXT", default="", help="what is said in it, word for word")
    add_model(add)
    add.add_argument("--force", **force)  # type: ignore[arg-type]

    action("list", "list all voices", LibraryOptions, _list)

    show = action("show", "show what is known of a voice", NamedOptions, _show)
    show.add_argument("name", metavar="NAME")

    remove = action("remove", "delete a voice", NamedOptions, _remove)
    remove.add_argument("name", metavar="NAME")

    export = action("export", "write a voice to a file, to give it to others", ExportOptions, _export)
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", metavar="FILE", type=Path, help="such as anna.safetensors")
    export.add_argument("--force", **force)  # type: ignore[arg-type]

    about = "add voices from a file: one that was exported, or a spk2info.pt"
    importing = action("import", about, ImportOptions, _import, _IMPORT_EXAMPLES)
    importing.add_argument("file", metavar="FILE", type=Path, help="a voice, spk2info.pt or spk2info.safetensors")
    importing.add_argument("--name", metavar="NAME", help="what to call the voice (default: as the file does)")
    importing.add_argument(
        "--speaker", metavar="NAME", action="append", default=[], help="only this one; may be given several times"
    )
    importing.add_argument("--force", **force)  # type: ignore[arg-type]


def _add(options: AddOptions) -> None:
    library = options.library
    model = options.model.folder()
    # What can go wrong quickly goes first: a model takes seconds to load.
    if options.force:
        library.path(options.name)
    else:
        library.ensure_free(options.name)
    check_recording(options.prompt, options.start, options.end)
    if not options.transcript.strip():
        print(_NO_TRANSCRIPT, file=sys.stderr)

    from mlx_cosyvoice import load

    loaded = load(model, dtype=options.model.computed_in)
    voice = loaded.clone(options.prompt, options.transcript, start=options.start or 0.0, end=options.end)
    interrupts.hold()
    name = library.add(options.name, voice, force=options.force).stem
    if options.json:
        _print_json(_facts(library, name, voice))
    else:
        print(f"added {name}, {voice.seconds:.1f} s: {library.path(name)}")


def _list(options: LibraryOptions) -> None:
    library = options.library
    voices = [_facts_or_error(library, name) for name in library.names()]
    if options.json:
        _print_json({"folder": str(library.folder), "voices": voices})
    elif not voices:
        print(f"no voices in {library.folder}")
    else:
        rows = [
            [voice["name"], "", f"cannot be read: {voice['error']}"]
            if "error" in voice
            else [voice["name"], f"{voice['seconds']:.1f} s", shorten(voice["transcript"], 80) or f"({voice['kind']})"]
            for voice in voices
        ]
        print(columns(rows))
        print(f"\n{len(voices)} in {library.folder}")


def _show(options: NamedOptions) -> None:
    library = options.library
    voice = library.get(options.name)
    facts = _facts(library, options.name, voice)
    if options.json:
        _print_json(facts)
        return
    rows = [
        ["name", facts["name"]],
        ["kind", facts["kind"]],
        ["duration", f"{facts['seconds']:.2f} s ({facts['speech_tokens']} speech tokens)"],
        ["transcript", facts["transcript"] or "(not known)"],
        ["for models of", _fitting(voice)],
        ["fingerprint", facts["fingerprint"]],
        ["file", facts["file"]],
        ["size", size(facts["bytes"])],
        *([f"from {key}", value] for key, value in facts["provenance"].items()),
    ]
    print(columns(rows))


def _remove(options: NamedOptions) -> None:
    library = options.library
    path = library.path(options.name)
    interrupts.hold()
    library.remove(options.name)
    if options.json:
        _print_json({"removed": path.stem, "file": str(path)})
    else:
        print(f"removed {path.stem}")


def _export(options: ExportOptions) -> None:
    library = options.library
    voice = library.get(options.name)
    interrupts.hold()
    voice.save(options.file, force=options.force)
    name = library.path(options.name).stem
    if options.json:
        _print_json({"exported": name, "file": str(options.file)})
    else:
        print(f"exported {name}: {options.file}")


def _import(options: ImportOptions) -> None:
    from mlx_cosyvoice.voices import import_voices

    library = options.library
    interrupts.hold()
    names = import_voices(library, options.file, speakers=options.speaker, name=options.name, force=options.force)
    if options.json:
        _print_json({"folder": str(library.folder), "voices": [_facts_or_error(library, name) for name in names]})
    else:
        print("\n".join(f"added {name}" for name in names))


def _facts(library: VoiceLibrary, name: str, voice: Voice) -> dict[str, Any]:
    path = library.path(name)
    return {
        "name": path.stem,
        "kind": _kind(voice),
        "seconds": voice.seconds,
        "speech_tokens": voice.prompt_token.shape[1],
        "transcript": voice.transcript,
        "transcript_tokens": None if voice.prompt_text is None else len(voice.prompt_text),
        "provenance": dict(voice.provenance),
        "families": list(voice.families),
        "fingerprint": voice.fingerprint,
        "file": str(path),
        "bytes": path.stat().st_size,
    }


def _facts_or_error(library: VoiceLibrary, name: str) -> dict[str, Any]:
    """One voice that cannot be read does not hide the others."""
    try:
        return _facts(library, name, library.get(name))
    except (ValueError, OSError) as error:
        return {"name": name, "error": str(error)}


def _fitting(voice: Voice) -> str:
    if not voice.prompt_token.size:
        return "any family"
    return ", ".join(map(_title, voice.families)) or "(not known)"


def _title(model_type: str) -> str:
    from mlx_cosyvoice.families import FAMILIES

    return FAMILIES[model_type].title if model_type in FAMILIES else plain(model_type)


def _kind(voice: Voice) -> str:
    if not voice.prompt_token.size:
        return "speaker embedding, for mode sft"
    if voice.transcript.strip():
        return "recording with transcript"
    if voice.prompt_text is not None:
        return "recording with transcript, of which only the token ids are known"
    return "recording without transcript, not for mode zero_shot"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
