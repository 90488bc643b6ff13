"""What the reference did in each stage, in files that any number of processes share.

Arrays are mapped into memory, so a process reads those alone that it looks at, and all read from the same pages.
"""

from __future__ import annotations

import mmap
import pickle
from pathlib import Path
from typing import Any

#: Arrays begin at multiples of it.
ALIGNMENT = 64


def store(value: Any, path: Path) -> None:
    """Write a value of arrays to `path` and a file of that name with `.arrays` behind it."""
    sizes, at = [], 0
    with path.with_suffix(".arrays").open("wb") as file:

        def write(buffer: pickle.PickleBuffer) -> None:
            nonlocal at
            raw = buffer.raw()
            file.write(raw)
            file.write(bytes(-raw.nbytes % ALIGNMENT))
            sizes.append((at, raw.nbytes))
            at += raw.nbytes + -raw.nbytes % ALIGNMENT

        head = pickle.dumps(value, protocol=5, buffer_callback=write)
        file.write(bytes(ALIGNMENT))  # an empty file cannot be mapped
    path.write_bytes(pickle.dumps((head, sizes)))


def recall(path: Path) -> Any:
    """What was stored; its arrays may be changed, which changes no file."""
    head, sizes = pickle.loads(path.read_bytes())
    with path.with_suffix(".arrays").open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    return pickle.loads(head, buffers=[view[at : at + size] for at, size in sizes])
