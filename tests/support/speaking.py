"""For the commands: a model with the interface of `SpeechModel` that speaks tones, as slowly as asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlx_cosyvoice.speech.metrics import Metrics
from mlx_cosyvoice.voices import Voice
from tests.support.process import ROOT

RATE = 24000
#: Samples of a chunk: a tenth of a second.
CHUNK = 2400

_RUN = """
import sys
import mlx_cosyvoice
from tests.support import speaking
mlx_cosyvoice.load = speaking.StandIn.load
sys.modules["sounddevice"] = speaking
from mlx_cosyvoice.cli import main
sys.exit(main())
"""


def reach(place: str) -> None:
    """Tell the test in the file STAND_IN_LOG; where STAND_IN_HOLD names this place, go no further."""
    if "STAND_IN_LOG" in os.environ:
        with open(os.environ["STAND_IN_LOG"], "a") as log:
            log.write(f"{place}\n")
    if os.environ.get("STAND_IN_HOLD") == place:
        time.sleep(600)


class PortAudioError(Exception):
    """With this and `OutputStream`, this module can stand in for sounddevice."""


class OutputStream:
    """A device that plays nothing until `abort`."""

    def __init__(self, **_: Any) -> None:
        self._aborted = threading.Event()

    def write(self, samples: np.ndarray) -> None:
        reach("play")
        if self._aborted.wait(600):
            raise PortAudioError("stopped")

    def abort(self) -> None:
        self._aborted.set()

    def start(self) -> None:
        pass

    stop = close = start


def tone(number: int) -> np.ndarray:
    """The chunk of that number; each has its own level."""
    return np.full(CHUNK, 0.01 * (number % 50 + 1), np.float32)


def voice(**changes: Any) -> Voice:
    contents: dict[str, Any] = {
        "prompt_token": np.zeros((1, 25), np.int32),
        "prompt_feat": np.zeros((1, 50, 80), np.float32),
        "embedding": np.ones((1, 192), np.float32),
        "transcript": "What is said.",
    }
    return Voice(**contents | changes)


class StandInStream(Iterator[np.ndarray]):
    """Takes `wait` seconds a chunk; chunks that are exceptions are raised. `end` ends a wait for text."""

    sample_rate = RATE

    def __init__(
        self, chunks: Iterable[np.ndarray | BaseException], wait: float, end: Callable[[], object] = lambda: None
    ) -> None:
        self.metrics = Metrics(segments=1, speech_tokens=7, prompt_positions=3, prompt_positions_reused=2)
        self._chunks, self._wait, self._began = iter(chunks), wait, time.perf_counter()
        self.closed, self._end = False, end

    def __next__(self) -> np.ndarray:
        reach(f"chunk {self.metrics.chunks}")
        chunk = next(self._chunks)
        time.sleep(self._wait)
        if isinstance(chunk, BaseException):
            raise chunk
        self.metrics.seconds = time.perf_counter() - self._began
        if self.metrics.first_chunk_seconds is None:
            self.metrics.first_chunk_seconds = self.metrics.seconds
        self.metrics.chunks += 1
        self.metrics.audio_seconds += len(chunk) / RATE
        return chunk

    def __enter__(self) -> StandInStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        self._end()


class StandIn:
    """Remembers what it was asked for. Says a chunk for every word, or for every piece of an arriving text."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    streams: ClassVar[list[StandInStream]] = []
    chunks: Iterable[np.ndarray | BaseException] | None = None

    sample_rate = RATE
    speakers: ClassVar[dict[str, Voice]] = {"lin": voice(transcript=""), "bo": voice(transcript="")}

    @classmethod
    def load(cls, path: str, *, dtype: str | None) -> StandIn:
        cls.calls.append(("load", {"path": path, "dtype": dtype}))
        reach("load")
        return cls()

    def clone(self, recording: str, transcript: str = "", *, start: float = 0.0, end: float | None = None) -> Voice:
        self.calls.append(("clone", {"recording": recording, "transcript": transcript, "start": start, "end": end}))
        reach("clone")
        return voice(transcript=transcript)

    def stream(self, text: str | Iterable[str], voice: Voice, **options: Any) -> StandInStream:
        self.calls.append(("stream", {"text": text, "voice": voice, **options}))
        return self._stream(text.split() if isinstance(text, str) else text)

    def convert_voice(self, source: str, voice: Voice, **options: Any) -> StandInStream:
        self.calls.append(("convert_voice", {"source": source, "voice": voice, **options}))
        return self._stream(["one", "two"])

    def _stream(self, words: Iterable[str]) -> StandInStream:
        chunks = (
            self.chunks
            if self.chunks is not None
            else (tone(number) for number, _ in enumerate(filter(str.strip, words)))
        )
        stream = StandInStream(
            chunks, float(os.environ.get("STAND_IN_WAIT", "0")), getattr(words, "close", lambda: None)
        )
        self.streams.append(stream)
        return stream


def start(
    *arguments: str, wait: float = 0, log: Path | None = None, hold: str = "", **options: Any
) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with stand-ins for the model and the loudspeaker.

    Args:
        arguments: of the command.
        wait: seconds that a chunk takes.
        log: where it writes what it reaches: a line each "load", "clone", "chunk N" (is begun), "play".
        hold: which of these it does not get beyond.
        options: of `subprocess.Popen`.
    """
    pipe = subprocess.PIPE
    environment = {"STAND_IN_WAIT": str(wait), "STAND_IN_HOLD": hold, "MLX_COSYVOICE_MODEL": "anywhere"}
    if log is not None:
        environment["STAND_IN_LOG"] = str(log)
    return subprocess.Popen(  # type: ignore[return-value]
        [sys.executable, "-c", _RUN, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        **{"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe} | options,
    )


def wait_for(path: Path, size: int, seconds: float = 60) -> None:
    """Until the file has that many bytes."""
    end = time.monotonic() + seconds
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end, f"{path} did not grow to {size} bytes"
        time.sleep(0.01)


def wait_until_reached(log: Path, place: str, seconds: float = 60) -> None:
    """Until a process that was started with this log gets there."""
    end = time.monotonic() + seconds
    while not log.exists() or place not in log.read_text().splitlines():
        assert time.monotonic() < end, f"{place} was not reached: {log.read_text() if log.exists() else 'nothing'}"
        time.sleep(0.01)
