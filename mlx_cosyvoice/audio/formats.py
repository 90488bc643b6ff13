"""The audio formats that are written, and which of them a file name means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from mlx_cosyvoice.audio.errors import AudioError


@dataclass(frozen=True)
class AudioFormat:
    """A format of audio files.

    Attributes:
        name: what it is asked for by.
        extensions: of file names that mean it.
        container: libsndfile's name for it, or "" where it is written without libsndfile.
        subtypes: name of a way to code samples -> libsndfile's name for it; the first is the default.
    """

    name: str
    extensions: tuple[str, ...]
    container: str
    subtypes: Mapping[str, str]


FORMATS = (
    AudioFormat("wav", (".wav", ".wave"), "", {"pcm16": "PCM_16", "pcm24": "PCM_24", "float": "FLOAT"}),
    AudioFormat("flac", (".flac",), "FLAC", {"pcm16": "PCM_16", "pcm24": "PCM_24"}),
    AudioFormat("ogg", (".ogg", ".oga"), "OGG", {"vorbis": "VORBIS", "opus": "OPUS"}),
    AudioFormat("opus", (".opus",), "OGG", {"opus": "OPUS"}),
    AudioFormat("mp3", (".mp3",), "MP3", {"mp3": "MPEG_LAYER_III"}),
    AudioFormat("raw", (".raw", ".pcm"), "", {"pcm16": "PCM_16"}),
)


def find_format(
    path: str | os.PathLike[str], format: str | None = None, subtype: str | None = None
) -> tuple[AudioFormat, str]:
    """The format to write `path` in, and the name of its subtype.

    Args:
        path: its extension decides where `format` is None; "-" is raw.
        format: name of one of `FORMATS`.
        subtype: name of one of its subtypes, also as libsndfile writes it ("PCM_16").

    Raises:
        AudioError: unknown format, extension or subtype; the known ones are named.
    """
    names = ", ".join(known.name for known in FORMATS)
    suffix = PurePath(path).suffix.lower()
    if format is not None:
        chosen = next((known for known in FORMATS if known.name == format.lower()), None)
        if chosen is None:
            raise AudioError(f"format {format!r} is not known; known are {names}")
    elif os.fspath(path) == "-":
        chosen = FORMATS[-1]
    else:
        chosen = next((known for known in FORMATS if suffix in known.extensions), None)
        if chosen is None:
            end = f"the extension {suffix!r} is not known" if suffix else "the file name has no extension"
            extensions = ", ".join(extension for known in FORMATS for extension in known.extensions)
            raise AudioError(f"{path}: {end}; use one of {extensions}, or give the format: {names}")
    if subtype is None:
        return chosen, next(iter(chosen.subtypes))
    plain = subtype.lower().replace("_", "").replace("-", "")
    if plain not in chosen.subtypes:
        raise AudioError(f"subtype {subtype!r} is not one of {chosen.name}: {', '.join(chosen.subtypes)}")
    return chosen, plain
