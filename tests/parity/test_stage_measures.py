"""What the speech-aware measures say of a run, of a healthy model and of broken ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from mlx_cosyvoice.flow import cfm
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_parity.compare import Verdict, as_json
from mlx_parity.findings import StageReport
from parity.measures.of_stages import MEASURES
from parity.pair import Pair, load_pair
from parity.report.measures import measures_line
from parity.run import run
from parity.stages import STAGES, Settings
from tests.support.recordings import short_inputs

#: Long enough for a chunk boundary after the prompt.
STREAMING = Settings(streaming="official", llm_steps=30, n_timesteps=2, sampler_rows=40)


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


def _run(pair: Pair, stages: list[str], settings: Settings = STREAMING) -> dict[str, StageReport]:
    report = run(pair, short_inputs(), stages=stages, settings=settings)
    return {stage.name: stage for stage in report.stages}


def test_only_stages_that_exist_are_measured() -> None:
    assert set(MEASURES) <= {stage.name for stage in STAGES}


def test_a_healthy_model_measures_well(pair: Pair) -> None:
    stages = _run(pair, list(MEASURES))
    assert stages["speaker_encoder"].measures["speaker_cosine"] == pytest.approx(1, abs=1e-6)
    assert stages["llm"].measures["first_flip"] is None
    flow = stages["flow_decoder"].measures
    assert len(flow["euler_step_error"]) == STREAMING.n_timesteps
    assert max(flow["euler_step_error"]) < 1e-4
    assert np.abs(flow["band_bias"]).max() < 1e-3
    np.testing.assert_allclose(flow["band_variance_ratio"], 1, rtol=1e-3)
    seams = flow["streaming"]
    assert len(seams["boundaries_frames"]) == len(seams["seam_error"]) >= 1
    assert max(seams["seam_error"]) < 1e-4
    offline = seams["offline_seam_error"]
    # streaming itself costs something, and the same on either side
    np.testing.assert_allclose(offline["mlx"], offline["reference"], rtol=1e-3)
    assert min(offline["mlx"]) > 1e-3
    vocoder = stages["vocoder"].measures
    assert vocoder["f0_error_hz"] < 0.1
    assert vocoder["voicing_agreement"] == 1
    assert vocoder["log_spectral_distance_db"] < 0.1
    assert vocoder["snr_db"] > 60
    assert vocoder["lag_samples"] == 0
    for stage in stages.values():
        line = measures_line(stage)
        assert line is not None
        assert line.startswith(f"{stage.title}: ")
        assert "\n" not in line


def test_a_dropped_chunk_mask_shows_in_the_seams(pair: Pair) -> None:
    chunk_mask = cfm.chunk_mask
    with mock.patch.object(cfm, "chunk_mask", lambda frames, size: chunk_mask(frames, 0)):
        measures = _run(pair, ["flow_decoder"])["flow_decoder"].measures
    assert min(measures["streaming"]["seam_error"]) > 1e-3
    assert min(measures["euler_step_error"]) > 1e-3


def test_a_mask_that_is_wrong_in_short_pieces_alone_shows_in_the_seams(pair: Pair) -> None:
    chunk_mask, longest = cfm.chunk_mask, [0]

    def forgetful(frames: int, size: int) -> Any:
        longest[0] = max(longest[0], frames)
        return chunk_mask(frames, size if frames == longest[0] else 0)

    with mock.patch.object(cfm, "chunk_mask", forgetful):
        stage = _run(pair, ["flow_decoder"])["flow_decoder"]
    assert stage.verdict is Verdict.PASS  # the mel in one piece is right
    assert min(stage.measures["streaming"]["seam_error"]) > 1e-3


def test_values_that_are_not_finite_are_spelled_out(pair: Pair) -> None:
    decode = HiFTGenerator.decode
    with mock.patch.object(HiFTGenerator, "decode", lambda *args: decode(*args) * float("nan")):
        stage = _run(pair, ["vocoder"])["vocoder"]
    assert stage.measures["snr_db"] == "-inf"
    assert stage.measures["log_spectral_distance_db"] == "inf"
    assert "SNR -inf dB" in str(measures_line(stage))


def test_a_flipped_token_is_named_with_its_margin(pair: Pair) -> None:
    head = pair.model.llm.llm_decoder  # type: ignore[union-attr]
    with mock.patch.object(head, "weight", -head.weight):
        stage = _run(pair, ["llm"], Settings(llm_steps=6, sampler_rows=40))["llm"]
    flip = stage.measures["first_flip"]
    assert not flip["near_tie"]
    assert abs(flip["logit_margin"]) > stage.measures["log_prob_noise"]
    assert f"first flip at token {flip['step']}: {flip['actual']}, the reference's is" in str(measures_line(stage))


def test_what_cannot_be_measured_is_told(pair: Pair) -> None:
    decode = HiFTGenerator.decode
    with mock.patch.object(HiFTGenerator, "decode", lambda *args: decode(*args)[:, :-1]):
        stage = _run(pair, ["vocoder"])["vocoder"]
    assert "shapes differ" in stage.measures["not_measured"]
    assert "not measured (wave: shapes differ" in str(measures_line(stage))


def test_plain_data() -> None:
    value: dict[str, Any] = {"a": (1.5, float("inf")), "b": np.array([np.nan, 2], np.float32), "c": None, "d": 3}
    assert as_json(value) == {"a": [1.5, "inf"], "b": ["nan", 2.0], "c": None, "d": 3}
