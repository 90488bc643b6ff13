"""`mlx-cosyvoice voices`: the library of voices."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli import interrupts
from mlx_cosyvoice.cli.arguments import add_model, dtype_of, model_of
from mlx_cosyvoice.cli.recordings import add_part, check_recording, part_of
from mlx_cosyvoice.cli.table import columns, shorten, size

if TYPE_CHECKING:
    from mlx_cosyvoice.voices import Voice, VoiceLibrary

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--voices", metavar="DIR", type=Path, help="the library's folder")
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)

    def action(name: str, text: str, examples: str | None = None) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=examples,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    force = {"action": "store_true", "help": "replace what has that name"}

    add = action("add", "take a voice from a recording", _ADD_EXAMPLES)
    add.add_argument("name", metavar="NAME", help="what to call the voice; letters of any script")
    add.add_argument("prompt", metavar="PROMPT.wav", type=Path, help="a recording of 3 to 30 s; wav, flac, ogg, mp3")
    add_part(add, "the recording")
    add.add_argument("--transcript", metavar="TEXT", default="", help="what is said in it, word for word")
    add_model(add)
    add.add_argument("--force", **force)  # type: ignore[arg-type]

    action("list", "list all voices")

    show = action("show", "show what is known of a voice")
    show.add_argument("name", metavar="NAME")

    remove = action("remove", "delete a voice")
    remove.add_argument("name", metavar="NAME")

    export = action("export", "write a voice to a file, to give it to others")
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", metavar="FILE", type=Path, help="such as anna.safetensors")
    export.add_argument("--force", **force)  # type: ignore[arg-type]

    importing = action("import", "add voices from a file: one that was exported, or a spk2info.pt", _IMPORT_EXAMPLES)
    importing.add_argument("file", metavar="FILE", type=Path, help="a voice, spk2info.pt or spk2info.safetensors")
    importing.add_argument("--name", metavar="NAME", help="what to call the voice (default: as the file does)")
    importing.add_argument(
        "--speaker", metavar="NAME", action="append", default=[], help="only this one; may be given several times"
    )
    importing.add_argument("--force", **force)  # type: ignore[arg-type]


def run(arguments: argparse.Namespace) -> None:
    from mlx_cosyvoice.voices import VoiceLibrary

    library = VoiceLibrary(arguments.voices)
    {
        "add": _add,
        "list": _list,
        "show": _show,
        "remove": _remove,
        "export": _export,
        "import": _import,
    }[arguments.action](library, arguments)


def _add(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    model = model_of(arguments)
    # What can go wrong quickly goes first: a model takes seconds to load.
    if arguments.force:
        library.path(arguments.name)
    else:
        library.ensure_free(arguments.name)
    part = part_of(arguments)
    check_recording(arguments.prompt, part)
    if not arguments.transcript.strip():
        print(_NO_TRANSCRIPT, file=sys.stderr)

    from mlx_cosyvoice import CosyVoice2

    loaded = CosyVoice2.load(model, dtype=dtype_of(arguments))
    voice = loaded.clone(arguments.prompt, arguments.transcript, **part)
    interrupts.hold()
    name = library.add(arguments.name, voice, force=arguments.force).stem
    if arguments.json:
        _print_json(_facts(library, name, voice))
    else:
        print(f"added {name}, {voice.seconds:.1f} s: {library.path(name)}")


def _list(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    voices = [_facts_or_error(library, name) for name in library.names()]
    if arguments.json:
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


def _show(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    voice = library.get(arguments.name)
    facts = _facts(library, arguments.name, voice)
    if arguments.json:
        _print_json(facts)
        return
    rows = [
        ["name", facts["name"]],
        ["kind", facts["kind"]],
        ["duration", f"{facts['seconds']:.2f} s ({facts['speech_tokens']} speech tokens)"],
        ["transcript", facts["transcript"] or "(not known)"],
        ["fingerprint", facts["fingerprint"]],
        ["file", facts["file"]],
        ["size", size(facts["bytes"])],
        *([f"from {key}", value] for key, value in facts["provenance"].items()),
    ]
    print(columns(rows))


def _remove(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    path = library.path(arguments.name)
    interrupts.hold()
    library.remove(arguments.name)
    if arguments.json:
        _print_json({"removed": path.stem, "file": str(path)})
    else:
        print(f"removed {path.stem}")


def _export(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    voice = library.get(arguments.name)
    interrupts.hold()
    voice.save(arguments.file, force=arguments.force)
    name = library.path(arguments.name).stem
    if arguments.json:
        _print_json({"exported": name, "file": str(arguments.file)})
    else:
        print(f"exported {name}: {arguments.file}")


def _import(library: VoiceLibrary, arguments: argparse.Namespace) -> None:
    from mlx_cosyvoice.voices import import_voices

    interrupts.hold()
    names = import_voices(
        library, arguments.file, speakers=arguments.speaker, name=arguments.name, force=arguments.force
    )
    if arguments.json:
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
