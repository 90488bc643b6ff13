"""Transplants name the stage that the final error comes from."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mlx_cosyvoice import audio
from mlx_cosyvoice.audio import write_wav
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_parity.compare import Verdict
from parity.__main__ import main
from parity.pair import Pair, load_pair
from parity.report.transplant import print_report, to_dict
from parity.stages import Settings
from parity.transplant.matrix import TransplantReport, _shares, transplant
from parity.transplant.parts import PARTS
from tests.support.recordings import short_inputs

SHORT = Settings(llm_steps=12, n_timesteps=2, sampler_rows=40)


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


def _transplant(pair: Pair, **arguments: object) -> TransplantReport:
    return transplant(pair, short_inputs(), **{"settings": SHORT, **arguments})  # type: ignore[arg-type]


def _printed(report: TransplantReport) -> str:
    output = io.StringIO()
    print_report(report, Console(file=output, width=160))
    return output.getvalue()


def test_a_healthy_model_has_rounding_errors_alone(pair: Pair) -> None:
    report = _transplant(pair)
    assert report.verdict is Verdict.PASS
    assert [row.part for row in report.rows] == [part.name for part in PARTS]
    assert report.all_mlx["mel"].relative_rms < 1e-5
    for row in report.rows:
        # the vocoder comes after the mel
        assert (row.alone["mel"].relative_rms == 0) == (row.stage in ("vocoder", "speech_tokenizer"))
        assert row.without["mel"].relative_rms < 1e-5
    assert sum(row.share["wav"] for row in report.rows) == pytest.approx(1)
    assert "which is rounding" in _printed(report)
    assert "verdict: PASS" in _printed(report)


@pytest.mark.slow
def test_a_wrong_guidance_rate_is_the_flow_decoders(pair: Pair) -> None:
    decoder = pair.model.flow.decoder  # type: ignore[union-attr]
    with mock.patch.object(decoder, "inference_cfg_rate", 0.5):
        report = _transplant(pair, settings=dataclasses.replace(SHORT, streaming="official"))
    assert report.verdict is Verdict.DIVERGED
    for name in ("mel", "wav"):
        row = report.responsible(name)
        assert row is not None
        assert row.part == "flow_decoder"
        assert row.share[name] > 0.99
        assert row.without[name].relative_rms < 0.01 * report.all_mlx[name].relative_rms
        # the others neither cause nor cure it
        for other in report.rows:
            if other is not row:
                assert other.without[name].relative_rms == pytest.approx(report.all_mlx[name].relative_rms, rel=0.05)
    assert "wave: off by" in _printed(report)
    assert "Flow decoder causes 100.0% of it" in _printed(report)


def test_two_faults_share_the_error(pair: Pair) -> None:
    attention = pair.model.flow.encoder.up_encoders[2].self_attn  # type: ignore[union-attr]
    snake = pair.model.hift.resblocks[4].activations1[1]  # type: ignore[union-attr]
    with (
        mock.patch.object(attention, "pos_bias_u", attention.pos_bias_v),
        mock.patch.object(snake, "alpha", snake.alpha * 2),
    ):
        report = _transplant(pair)
    mel = report.responsible("mel")
    assert mel is not None
    assert mel.part == "flow_encoder"
    alone = {row.part: row.alone["wav"].relative_rms for row in report.rows}
    assert set(sorted(alone, key=alone.__getitem__)[-2:]) == {"flow_encoder", "vocoder.decode"}


@pytest.mark.slow
def test_chosen_stages_alone_are_swapped(pair: Pair) -> None:
    report = _transplant(pair, stages=["vocoder"])
    assert [row.part for row in report.rows] == ["vocoder.f0", "vocoder.source", "vocoder.decode"]
    assert report.responsible("mel") is None
    assert "which is rounding; no part that was swapped causes it" in _printed(report)
    assert "of what the swapped parts cause: with that part from the reference" in _printed(report)


@pytest.mark.slow
def test_an_error_from_a_part_that_was_not_swapped_is_not_hidden(pair: Pair) -> None:
    decoder = pair.model.flow.decoder  # type: ignore[union-attr]
    with mock.patch.object(decoder, "inference_cfg_rate", 0.5):
        report = _transplant(pair, stages=["vocoder"])
    assert report.verdict is Verdict.DIVERGED
    assert "noise floors; no part that was swapped causes it" in _printed(report)


def test_nan_is_the_culprits(pair: Pair) -> None:
    decode = HiFTGenerator.decode
    with mock.patch.object(HiFTGenerator, "decode", lambda *args: decode(*args) * float("nan")):
        report = _transplant(pair, stages=["flow_encoder", "vocoder"])
    assert report.verdict is Verdict.DIVERGED
    row = report.responsible("wav")
    assert row is not None
    assert (row.part, row.share["wav"]) == ("vocoder.decode", 1)
    assert json.loads(json.dumps(to_dict(report), allow_nan=False))["all_mlx"]["wav"]["relative_rms"] == "inf"


def test_results_on_which_the_other_side_cannot_run_are_told(pair: Pair) -> None:
    with (
        mock.patch.object(audio, "kaldi_fbank", return_value=np.zeros((0, 80), np.float32)),
        pytest.raises(ValueError, match=r".+ \((mlx|reference)\) cannot run on what the parts before it made"),
    ):
        _transplant(pair)


def test_what_cannot_be_swapped_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="cannot swap llm; what can be swapped: audio_features, speech_tokenizer"):
        _transplant(pair, stages=["llm"])


@pytest.mark.slow
def test_command(tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transplant", "--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model)]
    write_wav(tmp_path / "short.wav", short_inputs()["wave24"], 24000)
    command += ["--audio", str(tmp_path / "short.wav"), "--json", str(tmp_path / "matrix.json")]
    assert main([*command, "--stages", "speaker_encoder"]) == 0
    assert "Speaker encoder" in capsys.readouterr().out
    matrix = json.loads((tmp_path / "matrix.json").read_text())
    assert matrix["responsible"] == {"mel": "speaker_encoder", "wav": "speaker_encoder"}
    assert set(matrix["parts"]["speaker_encoder"]["reference_with_this_from_mlx"]) == {"mel", "wav"}
    assert set(matrix["final"]["wav"]) >= {"error", "floor", "verdict"}
    assert main([*command, "--stages", "llm"]) == 2
    assert "cannot swap llm" in capsys.readouterr().err


@given(st.lists(st.one_of(st.floats(0, 1e300), st.just(math.inf)), max_size=8))
def test_shares_add_up(errors: list[float]) -> None:
    shares = _shares(errors)
    assert all(0 <= share <= 1 for share in shares)
    assert sum(shares) == pytest.approx(1 if any(errors) else 0)
    if errors:
        assert shares[errors.index(max(errors))] == max(shares)
