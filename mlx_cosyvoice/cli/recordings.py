"""Arguments that name a recording, or a part of one."""

from __future__ import annotations

import argparse
import contextlib
import math
import os


def moment(text: str) -> float:
    """Seconds, m:ss or h:mm:ss as seconds.

    Raises:
        ValueError: it is none of them.
    """
    *large, seconds = text.strip().split(":")
    if len(large) > 2 or not all(part.isascii() and part.isdigit() for part in large):
        raise ValueError(text)
    value = float(seconds)
    if not (0 <= value < 60 if large else 0 <= value < math.inf):
        raise ValueError(text)
    for factor, part in zip((60, 3600), reversed(large), strict=False):
        value += factor * int(part)
    return value


def add_part(parser: argparse._ActionsContainer, of: str, *, prompt: bool = False, short: bool = True) -> None:
    """Add options for a part of a recording.

    Args:
        parser: or a group of it.
        of: what the recording is, for help.
        prompt: it is the prompt of a command that has other recordings or none: --prompt-start and --prompt-end.
        short: --start and --end mean it.
    """
    for name, place in (("start", "begin"), ("end", "end")):
        options = ([f"--{name}"] if short else []) + ([f"--prompt-{name}"] if prompt else [])
        parser.add_argument(
            *options,
            dest=f"prompt_{name}" if prompt else name,
            metavar="TIME",
            type=moment,
            help=f"where in {of} to {place}: seconds, or m:ss",
        )


def check_recording(
    path: str | os.PathLike[str], start: float | None, end: float | None, *, of_any_length: bool = False
) -> None:
    """Refuse a recording that cannot be used, before a model is loaded. A pipe can be read only once: it is not.

    Raises:
        AudioError: see `audio.read_recording` and `audio.recording_pieces`.
    """
    from mlx_cosyvoice import audio

    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return
    if of_any_length:
        with contextlib.closing(audio.recording_pieces(path, start=start or 0.0, end=end)) as pieces:
            next(pieces)
    else:
        audio.read_recording(path, max_seconds=audio.MAX_PROMPT_SECONDS, start=start or 0.0, end=end)
