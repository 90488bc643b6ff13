"""Where audio goes: a file, standard output, the loudspeaker."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from mlx_cosyvoice.cli.options import OutputOptions

if TYPE_CHECKING:
    import numpy as np

    from mlx_cosyvoice.audio import AudioWriter, Player


def check_outputs(options: OutputOptions) -> None:
    """Refuse before any work what cannot be written or played.

    Raises:
        ValueError: neither --out nor --play, or an unknown format.
        OSError: the file exists and --force is not given, its folder does not exist, ...
    """
    from mlx_cosyvoice.audio import check_audio_target
    from mlx_cosyvoice.audio.player import find_sounddevice

    if options.out is None and not options.play:
        raise ValueError("nowhere for the audio to go: give --out FILE, --out - or --play")
    if options.out is not None:
        check_audio_target(options.out, format=options.format, subtype=options.subtype, force=options.force)
    if options.play:
        find_sounddevice()


class Outputs(contextlib.ExitStack):
    """The outputs that the options ask for, as one; use it in a `with` block.

    Attributes:
        file: what writes --out, or None.
    """

    def __init__(self, options: OutputOptions, sample_rate: int) -> None:
        super().__init__()
        self.file: AudioWriter | None = None
        self._player: Player | None = None
        self._options, self._sample_rate = options, sample_rate

    def __enter__(self) -> Outputs:
        super().__enter__()
        try:
            self._open()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def write(self, chunk: np.ndarray) -> None:
        """Give out a chunk, float32 [samples]; see `AudioWriter.write` and `Player.write`."""
        if self.file is not None:
            self.file.write(chunk)
        if self._player is not None:
            self._player.write(chunk)

    def stop(self) -> None:
        """Be silent, and wait for nobody who reads. May be called in any thread."""
        if self._player is not None:
            self._player.stop()
        if self.file is not None:
            self.file.hurry()

    def finish(self) -> None:
        """Give the file its name now, if that is not done; see `AudioWriter.close`. May be called in any thread."""
        if self.file is not None:
            self.file.close()

    def _open(self) -> None:
        from mlx_cosyvoice.audio import Player, open_audio

        options = self._options
        if options.play:  # first, so that the file is finished before the rest is heard
            self._player = self.enter_context(Player(self._sample_rate))
        if options.out is not None:
            self.file = open_audio(
                options.out,
                self._sample_rate,
                format=options.format,
                subtype=options.subtype,
                force=options.force,
            )
            self.enter_context(self.file)
