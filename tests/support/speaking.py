"""For the commands: a model with the interface of `CosyVoice2` that speaks tones, as slowly as it is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlx_cosyvoice.synthesis.metrics import Metrics
from mlx_cosyvoice.voices import Voice
from tests.support.process import ROOT

RATE = 24000
#: Samples of a chunk: a tenth of a second.
CHUNK = 2400

_RUN = """
import sys
import mlx_cosyvoice
from tests.support.speaking import StandIn
mlx_cosyvoice.CosyVoice2 = StandIn
from mlx_cosyvoice.cli import main
sys.exit(main())
"""


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
    """Takes `wait` seconds a chunk; chunks given as exceptions are raised."""

    sample_rate = RATE

    def __init__(self, chunks: Iterable[np.ndarray | BaseException], wait: float) -> None:
        self.metrics = Metrics(segments=1, speech_tokens=7, prompt_positions=3, prompt_positions_reused=2)
        self._chunks, self._wait, self._began = iter(chunks), wait, time.perf_counter()
        self.closed = False

    def __next__(self) -> np.ndarray:
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
        self.closed = True


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
        return cls()

    def clone(self, recording: str, transcript: str = "") -> Voice:
        self.calls.append(("clone", {"recording": recording, "transcript": transcript}))
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
        stream = StandInStream(chunks, float(os.environ.get("STAND_IN_WAIT", "0")))
        self.streams.append(stream)
        return stream


def start(*arguments: str, wait: float = 0, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with the stand-in for the model."""
    pipe = subprocess.PIPE
    return subprocess.Popen(  # type: ignore[return-value]
        [sys.executable, "-c", _RUN, *arguments],
        cwd=ROOT,
        env=os.environ | {"STAND_IN_WAIT": str(wait), "MLX_COSYVOICE_MODEL": "anywhere"},
        **{"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe} | options,
    )


def wait_for(path: Path, size: int, seconds: float = 60) -> None:
    """Until the file has that many bytes."""
    end = time.monotonic() + seconds
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end, f"{path} did not grow to {size} bytes"
        time.sleep(0.01)
