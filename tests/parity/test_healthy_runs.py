"""No false alarm: the healthy model, in every precision, mode and length of recording, from several seeds.

More than 300 whole runs. Of the modes that stream three in five seeds are run.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.convert import convert
from mlx_parity.compare import Verdict
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.run import run
from parity.stages import Settings
from reference.synthetic.checkpoint import write_checkpoint

#: Name -> how the checkpoint is converted.
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "8-bit": {"quantize": 8, "group_size": 32},
    "4-bit": {"quantize": 4, "group_size": 32},
    "bfloat16-4-bit": {"dtype": "bfloat16", "quantize": 4, "group_size": 32},
}
SECONDS = (0.6, 2, 5, 12, 29)
SEEDS = range(5)
#: Synthetic checkpoints; the runs of a seed are on one of them.
CHECKPOINTS = (1986, 7, 2026)

RUNS = [
    (precision, CHECKPOINTS[seed % len(CHECKPOINTS)], mode, seconds, seed)
    for precision, seed, seconds, mode in product(PRECISIONS, SEEDS, SECONDS, (None, "official", "incremental"))
    if mode is None or seed < 3
]

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("healthy")

    @lru_cache(maxsize=1)
    def of(precision: str, seed: int) -> Pair:
        return load_pair(*model_of(folder, precision, seed))

    return of


def model_of(folder: Path, precision: str, seed: int) -> tuple[Path, Path]:
    """A tiny checkpoint of that seed, and its conversion in that precision."""
    checkpoint, model = folder / str(seed), folder / f"{seed}-{precision}"
    if not checkpoint.exists():
        write_checkpoint(checkpoint, size="tiny", seed=seed)
    if not model.exists():
        convert(checkpoint, model, **PRECISIONS[precision])
    return checkpoint, model


def recording(seconds: float, seed: int) -> dict[str, Any]:
    """That much of the sample, from a place and at a level that depend on the seed."""
    inputs = load_inputs()
    level = 10 ** np.random.default_rng(seed).uniform(-1, 0)
    for name, rate in (("wave16", 16000), ("wave24", 24000)):
        wave = np.roll(inputs[name], -rate * seed // 2) * np.float32(level)
        inputs[name] = np.resize(wave, int(rate * seconds))
    return inputs


@pytest.mark.parametrize(("precision", "checkpoint", "mode", "seconds", "seed"), RUNS)
def test_a_healthy_model_passes(
    pair_of: Any, precision: str, checkpoint: int, mode: Any, seconds: float, seed: int
) -> None:
    report = run(pair_of(precision, checkpoint), recording(seconds, seed), settings=Settings(streaming=mode), seed=seed)
    assert report.culprits == []
    assert report.verdict is Verdict.PASS
