"""Voices from files of others into a library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError, open_regular
from mlx_cosyvoice.voices import spk2info
from mlx_cosyvoice.voices.errors import UnknownVoiceError, VoiceError
from mlx_cosyvoice.voices.library import VoiceLibrary
from mlx_cosyvoice.voices.names import check_name, same_file
from mlx_cosyvoice.voices.pt_file import is_pt
from mlx_cosyvoice.voices.tensor_file import file_format
from mlx_cosyvoice.voices.voice import Voice


def read_voices(path: str | os.PathLike[str]) -> dict[str, Voice]:
    """The voices of a file that `Voice.save` has written (under the file's name without suffix), of an official
    `spk2info.pt`, or of a model folder's `spk2info.safetensors`; the content tells which it is.

    Raises:
        FileNotFoundError: no such file.
        VoiceError: it is none of these, or damaged.
        OSError: it must not or cannot be read.
    """
    path = Path(path)
    try:
        open_regular(path).close()
    except BadFileError as error:
        raise VoiceError(f"{path}: {error}") from error
    # A name that ends in .pt gives an older or a foreign file the message that fits.
    if is_pt(path) or path.suffix == ".pt":
        return spk2info.read_spk2info(path)
    if file_format(path) == spk2info.FORMAT:
        return spk2info.read_spk2info_safetensors(path)
    return {path.stem: Voice.load(path)}


def import_voices(
    library: VoiceLibrary,
    path: str | os.PathLike[str],
    *,
    speakers: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
) -> list[str]:
    """Add the voices of a file (see `read_voices`) to `library`; none of them if the name of one is not free.

    Args:
        library: where to.
        path: the file.
        speakers: which of its voices; none for all.
        name: what to call it, if it is only one.
        force: replace voices of the same names.

    Returns:
        The names in the library.

    Raises:
        FileNotFoundError: no such file.
        UnknownVoiceError: the file has no such speaker.
        VoiceError: the file cannot be read; there is a `name` for several voices; a name cannot be a voice's, or is
            taken and `force` is not given.
        OSError: a voice cannot be written.
    """
    voices = _select(Path(path), read_voices(path), speakers)
    if name is not None:
        if len(voices) != 1:
            raise VoiceError(f"{path}: has {len(voices)} voices, so choose the one to call {name!r} (--speaker)")
        voices = {name: next(iter(voices.values()))}
    else:
        _check_names(path, voices)
    if not force:
        library.ensure_free(*voices)
    return [library.add(key, voice, force=force).stem for key, voice in voices.items()]


def _select(path: Path, voices: dict[str, Voice], speakers: Sequence[str]) -> dict[str, Voice]:
    unknown = [speaker for speaker in speakers if speaker not in voices]
    if unknown:
        raise UnknownVoiceError(
            f"{path}: has no speaker {', '.join(map(quoted, unknown))}, but {plain(', '.join(voices), 300) or 'none'}"
        )
    if not voices:
        raise VoiceError(f"{path}: has no voices")
    return {speaker: voices[speaker] for speaker in speakers} if speakers else voices


def _check_names(path: str | os.PathLike[str], voices: Mapping[str, Voice]) -> None:
    seen: dict[str, str] = {}
    for name in voices:
        try:
            key = same_file(check_name(name))
        except VoiceError as error:
            raise VoiceError(
                f"{path}: {error}; import it on its own under another (--speaker {quoted(name)} --name NAME)"
            ) from error
        if key in seen:
            raise VoiceError(
                f"{path}: {quoted(seen[key])} and {quoted(name)} would be the same voice of a library; import one of "
                f"them under another name (--speaker {quoted(name)} --name NAME)"
            )
        seen[key] = name
