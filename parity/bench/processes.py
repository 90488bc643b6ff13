"""Starts worker processes and talks to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: What every BLAS and thread pool reads its number of threads from.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
#: The side whose turn it is not must sleep and not spin.
IDLE = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

#: How much of what a worker printed is shown when it fails.
LAST_LINES, LAST_BYTES = 12, 8192


class WorkerError(ValueError):
    """A worker failed or died; the message says which, at what, and what it printed last."""


def environment(threads: int) -> dict[str, str]:
    """This process's environment with the same number of threads for every library; `parity` is found from anywhere."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **IDLE, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": path}


class Worker:
    """One side in a process of its own. Use it as a context manager: it ends with the block.

    Args:
        side: "mlx", "pytorch" or "converter".
        folder: the model folder, or the official checkpoint.
        config: sizes of the network.
        threads: of every library in the process.
    """

    def __init__(self, side: str, folder: Path, config: Mapping[str, Any], threads: int) -> None:
        self.side = side
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "parity.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(threads),
            encoding="utf-8",
        )
        try:
            self.ask("open", side=side, folder=str(folder), config=config, threads=threads)
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            WorkerError: the worker could not do it, or is no more.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"do": what, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise WorkerError(f"the {self.side} worker died at {what!r} ({_ending(status)}).{self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"the {self.side} worker failed at {what!r}: {reply['error']}.{self._last_words()}")
        return reply

    def _last_words(self) -> str:
        # pread leaves the position alone, which the worker shares and writes at
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), LAST_BYTES, max(size - LAST_BYTES, 0))
        lines = tail.decode("utf-8", "replace").rstrip().splitlines()[-LAST_LINES:]
        return " It printed:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""

    def close(self) -> None:
        """End the process, and wait until it has."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ending(status: int) -> str:
    if status == -9:
        return "killed by signal 9; most often there was not enough memory: close programs or use --stages"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
