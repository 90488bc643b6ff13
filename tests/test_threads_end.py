"""Forks, and ends: of a stream whose text does not come, and of the process meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.voices import make_voice

_BEGIN = """
import os, sys, threading, time
from mlx_cosyvoice import CosyVoice2, Voice
tts, voice = CosyVoice2.load(sys.argv[1]), Voice.load(sys.argv[2])
quick = dict(n_timesteps=1, normalize=False, min_token_text_ratio=0, max_token_text_ratio=2)

def never():
    yield "Hello there my friend. "
    threading.Event().wait()

"""

_FORKED = """
tts.synthesize("a", voice, **quick)
stream = tts.stream("hello", voice, **quick)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for use in (
    lambda: tts.synthesize("a", voice), lambda: next(stream), lambda: CosyVoice2.load(sys.argv[1]),
    lambda: tts.clone("x.wav"), lambda: tts.speech_tokens("a", voice), lambda: tts.convert_voice("x.wav", voice),
):
    try:
        use()
    except RuntimeError as error:
        print(error)
stream.close()
"""

_CLOSED = """
stream, got = tts.stream(never(), voice, n_timesteps=1), []
waiting = threading.Thread(target=lambda: got.append(list(stream)))
waiting.start()
time.sleep(0.5)
began = time.monotonic()
stream.close()
assert time.monotonic() - began < 0.2
waiting.join(20)
assert got and next(stream, None) is None
"""

_OPEN = """
blocked = tts.stream(never(), voice, n_timesteps=1)
speaking = tts.stream("One thing. " * 50, voice, **quick)
next(speaking)
threading.Thread(target=list, args=(speaking,), daemon=True).start()
"""


def run(script: str, model: Path, tmp_path: Path) -> list[str]:
    make_voice().save(tmp_path / "voice.safetensors")
    script = _BEGIN + script + "\nprint('end', time.time(), flush=True)\n"
    words = [sys.executable, "-Wignore", "-c", script, str(model), str(tmp_path / "voice.safetensors")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    assert time.time() - float(last.split()[1]) < 4
    return lines


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_is_told_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    lines = run(_FORKED, tiny_model, tmp_path)
    assert len(lines) == 6
    assert set(lines) == {lines[0]}
    assert "load the model after the fork" in lines[0]


@pytest.mark.parametrize("script", [_CLOSED, _OPEN], ids=["closed", "open"])
def test_nothing_waits_for_a_text_that_does_not_come(script: str, tiny_model: Path, tmp_path: Path) -> None:
    assert run(script, tiny_model, tmp_path) == []
