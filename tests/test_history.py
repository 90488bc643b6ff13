"""What was spoken before leaves no trace in what is spoken next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.process import run_python

#: In an interpreter of its own, where no other test has filled what the process may remember.
_SCRIPT = """
import sys
import numpy as np
from mlx_cosyvoice import CosyVoice2
from tests.support.voices import make_voice

QUICK = {"n_timesteps": 1, "min_token_text_ratio": 6, "max_token_text_ratio": 8}
model, decoding = sys.argv[1:]
voice = make_voice()

def speak(tts, times):
    chunks = tts.stream("The road was empty. " * times, voice, decoding=decoding, seed=1, **QUICK)
    return np.concatenate(list(chunks)).tobytes()

fresh = speak(CosyVoice2.load(model), 1)
used = CosyVoice2.load(model)
speak(used, 3)
sys.exit(not fresh or speak(used, 1) != fresh)
"""


@pytest.mark.parametrize(
    "decoding", ["incremental", *(pytest.param(name, marks=pytest.mark.slow) for name in ("official", "offline"))]
)
def test_a_long_text_changes_no_bit_of_a_short_one(tiny_model: Path, decoding: str) -> None:
    done = run_python("-c", _SCRIPT, str(tiny_model), decoding)
    assert done.returncode == 0, done.stderr
