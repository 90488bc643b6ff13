"""Audio that libsndfile does not read (m4a, webm, wma, ...), by what the system has: afconvert on macOS, ffmpeg.

The file may be a stranger's: the programs are run without a shell, ffmpeg may open nothing but this file and only
containers of sound (a playlist would name other files), and time and output are limited.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mlx_cosyvoice.audio.errors import AudioError

#: Seconds that a program may take: for a prompt, and for a recording of any length.
SHORTEST_WAIT, LONGEST_WAIT = 60.0, 1800.0
#: Bytes that it may write: each second of a prompt at 192 kHz, 16 bit, 8 channels; and for any length.
_BYTES_A_SECOND, _MOST_BYTES = 3_072_000, 8 << 30

_CONTAINERS = "mov,matroska,aac,asf,amr,wv,ape,flv,ac3,tta,mpeg,mpegts,avi,ogg,wav,w64,aiff,caf,mp3,flac,au"


@contextlib.contextmanager
def converted(path: str, name: str, kind: str, until: float | None) -> Iterator[BinaryIO]:
    """The audio of a file as a wav or W64 file, which exists within the block only.

    Args:
        path: of the file.
        name: what messages call it.
        kind: what it is, for messages.
        until: seconds that are wanted at most; None for all.

    Raises:
        AudioError: no program that reads it is installed, or it failed; the message holds a command that converts it.
    """
    failures = []
    with tempfile.TemporaryDirectory(prefix="mlx-cosyvoice-") as folder:
        for program, command in _commands(path, until):
            out = Path(folder) / f"{program}.wav"
            failure = _run([*command, str(out)], out, until)
            if failure is None:
                with out.open("rb", buffering=0) as file:
                    yield file  # type: ignore[misc]
                return
            failures.append(f"{program}: {failure}")
    raise AudioError(_advice(name, kind, failures))


def _commands(path: str, until: float | None) -> Iterator[tuple[str, list[str]]]:
    """Programs that are there, and the arguments with which they read `path`; the output's name comes last."""
    if program := shutil.which("afconvert"):
        yield "afconvert", [program, "-f", "WAVE", "-d", "LEI16", path]
    if program := shutil.which("ffmpeg"):
        limit = [] if until is None else ["-t", f"{until + 1:.3f}"]
        yield (
            "ffmpeg",
            [
                *(program, "-nostdin", "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS),
                *("-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", *limit),
                *("-c:a", "pcm_s16le", "-fs", str(_most_bytes(until)), "-f", "w64", "-y"),
            ],
        )


def _most_bytes(until: float | None) -> int:
    return _MOST_BYTES if until is None else min(_MOST_BYTES, int((until + 10) * _BYTES_A_SECOND))


def _run(command: Sequence[str], out: Path, until: float | None) -> str | None:
    """Run a program; what went wrong, or None."""
    wait = LONGEST_WAIT if until is None else SHORTEST_WAIT + until / 10
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, close_fds=True
            )
        except OSError as error:
            return str(error.strerror or error)
        try:
            failure = _watch(process, out, wait, _most_bytes(until))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if failure is not None:
            return failure
        if process.returncode == 0 and out.is_file() and out.stat().st_size:
            return None
        said.seek(0)
        lines = said.read(65536).decode(errors="replace").strip().splitlines()
    return (lines[-1][:200] if lines else f"ended with status {process.returncode}").replace(str(out.parent), "...")


def _watch(process: subprocess.Popen[bytes], out: Path, wait: float, most: int) -> str | None:
    end = time.monotonic() + wait
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            return None
        if time.monotonic() > end:
            return f"was stopped after {wait:.0f} s"
        with contextlib.suppress(OSError):
            if os.path.getsize(out) > most:
                return f"was stopped, it wrote more than {most >> 20} MB"


def _advice(name: str, kind: str, failures: Sequence[str]) -> str:
    source = name if os.path.exists(name) else "FILE"
    wav = str(Path(source).with_suffix(".converted.wav" if source.endswith(".wav") else ".wav"))
    files = f"{shlex.quote(source)} {shlex.quote(wav)}"
    command = f"afconvert -f WAVE -d LEI16 {files}" if sys.platform == "darwin" else f"ffmpeg -i {files}"
    if failures:
        return f"{name}: is {kind}, which could not be read ({'; '.join(failures)}); convert it: {command}"
    return f"{name}: is {kind}, which is read where ffmpeg is installed; install it, or convert the file: {command}"
