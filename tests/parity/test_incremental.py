"""The parity stage of the incremental decoder: what it allows a healthy model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.convert import convert
from mlx_parity.compare import Verdict, relative_rms
from parity.pair import load_pair
from parity.run import run
from parity.stages import Outputs, Settings, Sides
from parity.stages.incremental import Incremental
from tests.support.recordings import short_inputs

SETTINGS = Settings(streaming="incremental", llm_steps=4, n_timesteps=1)


def test_what_f0_leans_to_is_carried_on_to_the_waveform() -> None:
    """The phase is the sum of F0: errors of one sign add up, those of both cancel each other."""
    draw = np.random.default_rng(0)
    exact = 200 + draw.random((1, 400))
    f0 = {"cancelling": exact + 1e-4 * (-1.0) ** np.arange(400), "leaning": exact + 1e-4}
    waves = {"cancelling": 1e-6, "leaning": 1e-3}
    wav = draw.standard_normal((1, 8000))
    made = {name: Outputs({"f0": f0[name], "wav": wav + waves[name] * draw.standard_normal(wav.shape)}) for name in f0}
    right = Outputs({"f0": exact, "wav": wav})
    sides, stage = Sides(made["leaning"], made["cancelling"], right), Incremental()
    floor = relative_rms(made["cancelling"].tensors["wav"], wav)
    assert stage.carried("wav", sides) > 100 * floor
    assert stage.carried("wav", replace(sides, actual=made["cancelling"])) == pytest.approx(floor)
    assert stage.carried("mel", sides) == 0
    shorter = replace(sides, actual=Outputs({"f0": exact[:, 1:], "wav": wav}))
    assert stage.carried("wav", shorter) == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cosyvoice2", "cosyvoice3"])
def test_a_vocoder_of_half_precision_passes(
    family: str, tiny_checkpoint: Path, tiny_checkpoint3: Path, tmp_path: Path
) -> None:
    checkpoint = {"cosyvoice2": tiny_checkpoint, "cosyvoice3": tiny_checkpoint3}[family]
    model = convert(checkpoint, tmp_path / "model", dtype="bfloat16", keep_float32=["campplus"]).out
    report = run(load_pair(checkpoint, model), short_inputs(), stages=["incremental"], settings=SETTINGS)
    assert report.verdict is Verdict.PASS
    assert not report.culprits
