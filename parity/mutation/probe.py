"""What the public functions return: the judge of whether a mutant that parity passed changed anything at all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mlx_parity.compare import FACTOR, relative_rms

#: How far two outputs may be apart in any case; else as many times what one rounding step in all weights changes, as
#: parity allows of a noise floor.
BOUND = 1e-3
#: A factor that is one rounding step of float32, or two.
STEP = 1 + 2.0**-22
#: How often the noise is measured.
NUDGES = 3

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


def noise(runs: Iterable[dict[str, np.ndarray]], healthy: dict[str, np.ndarray]) -> dict[str, float]:
    """Function -> how far its output moves when rounding falls out otherwise: infinite if another token was drawn.

    The farthest of several runs of a nudged model, as a small change moves some outputs now a little and now far.
    """
    farthest = dict.fromkeys(healthy, 0.0)
    for made in runs:
        farthest = {name: max(far, _distance(made[name], healthy[name])) for name, far in farthest.items()}
    return farthest


def nudged(model: Any, recording: Any) -> Iterator[dict[str, np.ndarray]]:
    """`probe` of the model after every one of `NUDGES` nudges, of which each goes on from the one before."""
    for number in range(NUDGES):
        _nudge(model, number)
        yield probe(model, recording)


def _nudge(model: Any, seed: int) -> None:
    """Round every weight of a model up or down by a step, at random."""
    import mlx.core as mx
    from mlx.utils import tree_map

    rng = np.random.default_rng(seed)

    def moved(weight: mx.array) -> mx.array:
        return weight * mx.array(np.where(rng.random(weight.shape) < 0.5, STEP, 1 / STEP).astype(np.float32))

    for component in model.family.names:
        network = getattr(model, component)
        network.update(tree_map(moved, network.parameters()))
        mx.eval(network.parameters())  # other threads read them


def changed(made: dict[str, np.ndarray], healthy: dict[str, np.ndarray], noises: dict[str, float]) -> list[str]:
    """The functions that return something else than the healthy model's, and not for rounding."""
    return [
        name for name, right in healthy.items() if not _distance(made[name], right) <= max(BOUND, FACTOR * noises[name])
    ]


def _distance(mine: np.ndarray, right: np.ndarray) -> float:
    if mine.shape != right.shape:
        return math.inf
    if not np.issubdtype(right.dtype, np.floating):
        return 0.0 if np.array_equal(mine, right) else math.inf
    return relative_rms(mine, right)
