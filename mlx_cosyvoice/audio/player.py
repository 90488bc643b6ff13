"""Audio to the loudspeaker while more of it is made."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

import numpy as np

#: Chunks that wait to be played; what makes them is held up when there are more.
_WAITING = 64


class PlaybackError(ValueError):
    """Audio cannot be played here; the message says what to do."""


def find_sounddevice() -> Any:
    """The module `sounddevice`.

    Raises:
        PlaybackError: it, or the library that it needs, is not installed.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise PlaybackError("playing needs sounddevice: pip install 'mlx-cosyvoice[play]'") from error
    except OSError as error:
        raise PlaybackError(
            f"playing needs the PortAudio library ({error}): apt install libportaudio2, or brew install portaudio"
        ) from error
    return sounddevice


class Player:
    """Plays chunks one after the other on the default output device; use it in a `with` block.

    The end of the block waits until all was played, an exception stops it at once.

    Args:
        sample_rate: in Hz.

    Raises:
        PlaybackError: sounddevice is not installed, or there is no device.
    """

    def __init__(self, sample_rate: int) -> None:
        sounddevice = find_sounddevice()
        self._device_error: type[Exception] = sounddevice.PortAudioError
        try:
            self._stream = sounddevice.OutputStream(samplerate=sample_rate, channels=1, dtype="float32")
            self._stream.start()
        except self._device_error as error:
            raise PlaybackError(f"the default output device cannot play: {error}") from error
        self._chunks: queue.Queue[np.ndarray | None] = queue.Queue(_WAITING)
        self._failure: Exception | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="mlx-cosyvoice player", daemon=True)
        self._thread.start()

    def write(self, chunk: np.ndarray) -> None:
        """Play float32 [samples] after what was written before; returns before it is heard.

        Raises:
            PlaybackError: the device failed.
        """
        self._raise_failure()
        self._chunks.put(np.ascontiguousarray(chunk, np.float32))

    def close(self) -> None:
        """Wait until all was played, or `stop` is called.

        Raises:
            PlaybackError: the device failed.
        """
        self._chunks.put(None)
        self._thread.join()
        if not self._stopped:
            self._raise_failure()
            self._stream.stop()  # waits for the device's own buffer
        self._stream.close()

    def stop(self) -> None:
        """Be silent at once, and play nothing more. May be called in any thread; `close` or `abort` follows."""
        self._stopped = True
        with contextlib.suppress(self._device_error):  # it may be closed already
            self._stream.abort()

    def abort(self) -> None:
        """Be silent at once."""
        self.stop()
        self._chunks.put(None)
        self._thread.join()
        self._stream.close()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self.close()
            except KeyboardInterrupt:
                self.abort()
                raise
        else:
            self.abort()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise PlaybackError(f"the output device failed: {self._failure}") from self._failure

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            if self._failure is not None or self._stopped:
                continue  # so that `write` never waits for ever
            try:
                self._stream.write(chunk.reshape(-1, 1))
            except Exception as error:  # `write` or `close` raises it
                if not self._stopped:
                    self._failure = error
