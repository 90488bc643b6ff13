"""What the public functions return: the judge of whether a mutant that parity passed changed anything at all."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from parity.compare import relative_rms

#: How far two waves may be apart before one counts as changed. The whole way from text to wave in float32 loses some
#: 1e-4 of a wave against float64; parity allows 8 times what is lost.
BOUND = 1e-3

TEXT = "Hello from MLX."
TRANSCRIPT = "What is said in the recording."
#: Random weights never end a sentence.
LENGTH = {"max_token_text_ratio": 6, "n_timesteps": 4}


def probe(model: Any, recording: Any) -> dict[str, np.ndarray]:
    """Name -> what a public function of the model returns.

    Args:
        model: a `SpeechModel`.
        recording: a file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        voice = model.clone(recording, TRANSCRIPT)
        made = {name: np.asarray(getattr(voice, name)) for name in ("prompt_token", "prompt_feat", "embedding")}
        for decoding in ("offline", "official", "incremental"):
            made[decoding] = model.synthesize(TEXT, voice, decoding=decoding, **LENGTH)
        made["speed"] = model.synthesize(TEXT, voice, speed=1.25, **LENGTH)
        made["instruction"] = model.synthesize(TEXT, voice, instruction="Speak softly.", seed=1, **LENGTH)
        made["pieces"] = model.synthesize(iter(TEXT.split(" ")), voice, normalize=False, **LENGTH)
        chunks = model.convert_voice(recording, voice, decoding="incremental", n_timesteps=2)
        made["converted"] = np.concatenate(list(chunks))
    return made


def changed(made: dict[str, np.ndarray], healthy: dict[str, np.ndarray]) -> list[str]:
    """The functions that return something else than the healthy model's."""
    return [name for name, right in healthy.items() if _differs(made[name], right)]


def _differs(mine: np.ndarray, right: np.ndarray) -> bool:
    if mine.shape != right.shape:
        return True
    if not np.issubdtype(right.dtype, np.floating):
        return not np.array_equal(mine, right)
    return not relative_rms(mine, right) <= BOUND
