"""Where audio goes: a file, standard output, the loudspeaker."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from mlx_cosyvoice.audio import AudioWriter, Player


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse before any work what cannot be written or played.

    Raises:
        ValueError: neither --out nor --play, or an unknown format.
        OSError: the file exists and --force is not given, its folder does not exist, ...
    """
    from mlx_cosyvoice.audio import check_audio_target
    from mlx_cosyvoice.audio.player import find_sounddevice

    if arguments.out is None and not arguments.play:
        raise ValueError("nowhere for the audio to go: give --out FILE, --out - or --play")
    if arguments.out is not None:
        check_audio_target(arguments.out, format=arguments.format, subtype=arguments.subtype, force=arguments.force)
    if arguments.play:
        find_sounddevice()


class Outputs(contextlib.ExitStack):
    """The outputs that the arguments ask for, as one; use it in a `with` block.

    Attributes:
        file: what writes --out, or None.
    """

    def __init__(self, arguments: argparse.Namespace, sample_rate: int) -> None:
        super().__init__()
        from mlx_cosyvoice.audio import Player, open_audio

        self.file: AudioWriter | None = None
        self._player: Player | None = None
        if arguments.play:  # first, so that the file is finished before the rest is heard
            self._player = self.enter_context(Player(sample_rate))
        if arguments.out is not None:
            try:
                self.file = self.enter_context(
                    open_audio(
                        arguments.out,
                        sample_rate,
                        format=arguments.format,
                        subtype=arguments.subtype,
                        force=arguments.force,
                    )
                )
            except BaseException:
                if self._player is not None:
                    self._player.abort()
                raise

    def write(self, chunk: np.ndarray) -> None:
        """Give out a chunk, float32 [samples]; see `AudioWriter.write` and `Player.write`."""
        if self._player is not None:
            self._player.write(chunk)
        if self.file is not None:
            self.file.write(chunk)
