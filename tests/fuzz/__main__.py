"""python -m tests.fuzz [--seconds N] [--target NAME ...]: fuzz the readers, guided by coverage where atheris is there.

Every target runs in a process of its own. What a reader must not do is shown with its traceback, and the file that
made it do so is kept in build/fuzz.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OUT = Path("build/fuzz")
NAMES = (
    *("yaml", "qwen", "vocab", "merges", "added", "recipe", "pt", "pt-pickle", "speakers", "speakers-pickle"),
    *("campplus", "speech-tokenizer", "model-config", "safetensors", "voice", "tokenizer"),
    *("voice-header", "speakers-header", "speakers-texts", "weights-header", "index"),
    *("wav", "wav-adpcm", "wav-joined", "rf64", "w64", "flac", "flac-joined", "ogg", "opus", "mp3", "mp3-joined"),
    *("aiff", "au", "caf", "voc"),
)


def main() -> int:
    """Returns 1 if a target found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together (default 600)")
    parser.add_argument("--target", nargs="+", choices=NAMES, default=list(NAMES))
    arguments = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    print(
        f"fuzzing {len(arguments.target)} readers{'' if guided else ' without atheris, by plain mutation'}", flush=True
    )
    failed = []
    for name in arguments.target:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            log = Path(scratch) / "log"
            seconds = str(arguments.seconds / len(arguments.target))
            command = [sys.executable, "-m", "tests.fuzz.worker", name, seconds, scratch]
            with log.open("wb") as errors:
                status = subprocess.run(command, stderr=errors, check=False).returncode
            if status:
                print(log.read_text(errors="replace")[-4000:], flush=True)
                failed.append(name)
        print(f"  {name}: {'FOUND' if status else 'ok'} in {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        print(f"found in {', '.join(failed)}; the files are in {OUT}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
