"""What must happen to every hostile file: it is refused in one line, soon, in little memory, and nothing is left.

An input is a function that writes it; `Inputs.add` collects them. `refusal` judges a reader in this process,
`command_refusal` a whole command in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT

#: Bounds of a refusal, over what the process took before.
MAX_SECONDS, MAX_BYTES = 3.0, 300e6

#: Characters of a message, file names included.
MAX_MESSAGE = 1200

#: Seconds that a busy machine may add to a whole process, besides those of its start.
BUSY = 5.0


@dataclass(frozen=True)
class Hostile:
    """An input.

    Attributes:
        name: what is hostile about it.
        file: where it goes, relative to the folder of the checkpoint or model.
        write: writes it there. What stood there before is a valid file of that name.
        words: what the message must say, besides the file's name.
    """

    name: str
    file: str
    write: Callable[[Path], Any]
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{Path(self.file).name}-{self.name}"


class Inputs(list[Hostile]):
    """Hostile inputs, each added by a decorated function of that name."""

    def add(self, file: str, *words: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
        def register(write: Callable[[Path], Any]) -> Callable[[Path], Any]:
            self.append(Hostile(write.__name__, file, write, words))
            return write

        return register

    def add_each(
        self, file: str, kind: str, contents: dict[str, Any], write: Callable[[Path, Any], Any], *words: str
    ) -> None:
        """One input for each of `contents`, by its name; `write(path, content)` makes the file of it."""
        for name, content in contents.items():

            def one(path: Path, content: Any = content) -> Any:
                return write(path, content)

            self.append(Hostile(f"{kind}-{name}", file, one, words))


@dataclass
class Cost:
    """What a block of code took: seconds of the processor, which others who are at work do not lengthen, and bytes."""

    #: Of this process alone, so that a busy machine does not count.
    seconds: float = 0.0
    nbytes: int = 0


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Seconds of the processor, and bytes by which the memory grew at its highest (Linux only, 0 elsewhere)."""
    cost, has_peak = Cost(), Path("/proc/self/clear_refs").exists()
    if has_peak:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
        before = _status("VmRSS")
    start = time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.process_time() - start
        if has_peak:
            cost.nbytes = _status("VmHWM") - before


def check_message(message: str, *words: str) -> None:
    """One line that can be printed, not too long, that says each of `words`."""
    assert message.isprintable(), f"not one printable line: {message[:500]!r}"
    assert len(message) <= MAX_MESSAGE, f"{len(message)} characters: {message[:300]}"
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


def refusal(read: Callable[[], Any], *words: str) -> str:
    """The message with which a reader refuses. Any error but ValueError and OSError is passed on, to fail the test."""
    message = None
    with measured() as cost:
        try:
            read()
        except (ValueError, OSError) as error:
            message = str(error)
    assert message is not None, "was accepted"
    check_message(message, *words)
    assert cost.seconds < MAX_SECONDS, f"took {cost.seconds:.1f} s: {message}"
    assert cost.nbytes < MAX_BYTES, f"took {cost.nbytes / 1e6:.0f} MB: {message}"
    return message


def listing(folder: Path) -> set[str]:
    """Every file and folder below `folder`, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it took."""

    status: int
    errors: str
    seconds: float
    nbytes: int


def run_command(arguments: Sequence[str], cwd: Path = ROOT) -> Finished:
    """`python -m ARGUMENTS` to its end. `cwd` is where it runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as stream:
        errors = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(process.returncode, errors, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def command_refusal(arguments: Sequence[str], start: Finished, kept: Path, *words: str) -> str:
    """Run a command that must refuse: exit status 1, one line, within the bounds over `start`, `kept` untouched.

    Args:
        arguments: a module and its arguments.
        start: what the same command needs to begin, from a run that ends at once.
        kept: a folder in which no file may appear or vanish.
    """
    before = listing(kept)
    done = run_command(arguments)
    lines = done.errors.strip().splitlines()
    assert done.status == 1, f"exit status {done.status}: {done.errors[-2000:]}"
    assert len(lines) == 1, done.errors[-2000:]
    check_message(lines[0], *words)
    assert done.seconds - start.seconds < MAX_SECONDS + BUSY, f"took {done.seconds - start.seconds:.1f} s"
    assert done.nbytes - start.nbytes < MAX_BYTES, f"took {(done.nbytes - start.nbytes) / 1e6:.0f} MB"
    assert listing(kept) == before, f"left behind: {listing(kept) ^ before}"
    return lines[0]


def in_part(inputs: Sequence[Hostile]) -> list[Any]:
    """`inputs` as parameters of a test: a third in the default run, a third with the slow tests, all when soaking."""
    marks: list[Any] = [(), pytest.mark.slow, pytest.mark.soak]
    return [pytest.param(one, marks=marks[place % 3]) for place, one in enumerate(inputs)]
