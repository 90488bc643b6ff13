"""A process that runs one side: requests come as JSON lines on stdin, replies go out as JSON lines.

Started by `processes.Worker`. It imports the framework of its own side and not the other's.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from parity.bench.jobs import Job, timed
from parity.bench.machine import memory

#: Each is imported when it is asked for.
SIDES = {
    "mlx": "parity.bench.side_mlx:Side",
    "pytorch": "parity.bench.side_torch:Side",
    "converter": "parity.bench.side_torch:Converter",
}


class Handler:
    """Answers requests: a dict with "do" and the arguments of the method of that name."""

    def __init__(self, side: str, folder: str, config: dict[str, Any], threads: int) -> None:
        self.side = pkgutil.resolve_name(SIDES[side])(Path(folder), config, threads)
        self.job: Job | None = None

    def facts(self) -> dict[str, Any]:
        return {**self.side.facts(), "modules": sorted({"torch", "mlx.core"} & sys.modules.keys())}

    def limits(self, size: int, floats: int) -> dict[str, Any]:
        return self.side.limits(size, floats)

    def load(self, component: str) -> dict[str, Any]:
        started = time.perf_counter()
        self.side.load(component)
        return {"seconds": time.perf_counter() - started, **memory()}

    def prepare(self, job: str, inputs: str, settings: dict[str, Any]) -> dict[str, Any]:
        with np.load(inputs) as arrays:
            self.job = self.side.job(job, dict(arrays), settings)
        return {}

    def run(self, output: str = "") -> dict[str, Any]:
        """Run the prepared job once; what it made goes to the file `output` if one is named."""
        assert self.job is not None, "run came before prepare"
        seconds, outcome = timed(self.job)
        if output and outcome.output is not None:
            np.save(output, outcome.output)
        return {**seconds, "laps": outcome.laps, "numbers": outcome.numbers}

    def flops(self) -> dict[str, Any]:
        return {"flops": self.side.flops(self.job)}

    def memory(self) -> dict[str, Any]:
        return dict(memory())


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer until stdin ends. The first request makes the side; an error is a reply and ends the process."""
    handler = None
    for line in requests:
        request = json.loads(line)
        what = request.pop("do")
        try:
            if what == "open":
                handler, reply = Handler(**request), {}
            else:
                reply = getattr(handler, what)(**request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)
        if "error" in reply:
            return


def main() -> None:
    # Libraries print to stdout as they like; the replies keep a pipe of their own.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
