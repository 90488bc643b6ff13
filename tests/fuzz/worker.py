"""python -m tests.fuzz.worker NAME SECONDS FOLDER: fuzz one reader in a scratch folder; status 1 at a finding."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

OUT = Path("build/fuzz")

#: What takes longer on one small file is a finding, on a busy machine too.
MAX_SECONDS = 10.0


def main(name: str, seconds: float, folder: Path) -> None:
    atheris: Any = importlib.import_module("atheris") if importlib.util.find_spec("atheris") else None
    packages = [
        "converters",
        "mlx_cosyvoice.strict",
        "mlx_cosyvoice.voices",
        "mlx_cosyvoice.text.build",
        "mlx_cosyvoice.audio",
    ]
    instrumented = atheris.instrument_imports(include=packages) if atheris else contextlib.nullcontext()
    with instrumented:
        from tests.fuzz.targets import TARGETS, attempt
    from tests.fuzz.mutate import mutated

    target = TARGETS[name]
    seed = target.seed()
    assert attempt(target, seed, folder) is None, "the seed is not valid"
    end, counts = time.monotonic() + seconds, [0, 0]

    def one(content: bytes) -> None:
        if time.monotonic() > end:
            print(f"    {counts[0]} files, of which {counts[1]} were read", flush=True)
            os._exit(0)
        start = time.process_time()
        try:
            message = attempt(target, content, folder)
            assert time.process_time() - start < MAX_SECONDS, "took too long"
        except BaseException:
            OUT.mkdir(parents=True, exist_ok=True)
            (OUT / f"{name}-{counts[0]}").write_bytes(target.wrap(content))
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        counts[0] += 1
        counts[1] += message is None

    if atheris is None:
        _loop(one, seed, mutated)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], f"-max_len={2 * len(seed) + 10_000}", "-verbosity=0", "-rss_limit_mb=4096", str(corpus)],
        one,
        custom_mutator=lambda data, most, number: mutated(bytes(data) or seed, Random(number))[:most],
    )
    atheris.Fuzz()


def _loop(one: Callable[[bytes], None], seed: bytes, mutated: Callable[[bytes, Random], bytes]) -> None:
    random = Random(0)
    while True:
        one(mutated(seed, random))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
