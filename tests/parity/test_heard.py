"""What a run says of speech: both sides of the nano model are heard alike, a broken one is not, noise is left alone."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from converters.convert import convert
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_parity.compare import Verdict, judge
from mlx_parity.findings import StageReport
from mlx_parity.localization.captured import advance
from parity.findings import RunReport
from parity.heard import VOICE, Heard, Spoken, listen
from parity.inputs import load_inputs
from parity.measures.wave import snr_db
from parity.pair import Pair, load_pair
from parity.report import data, html
from parity.stages import LanguageModel, Settings, TextTokenizer
from parity.stages.base import STREAMING, Streaming
from tests.support.process import ROOT

NANO = ROOT / "assets/nano"
TEXT, TRANSCRIPT = "eight nine", "seven seven two nine six"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(NANO, convert(NANO, tmp_path_factory.mktemp("nano") / "model").out)


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return load_inputs(NANO / "prompts/awb-1.06.flac", TRANSCRIPT, TEXT)


def test_trained_weights_do_not_end_the_walk(pair: Pair, inputs: dict[str, Any]) -> None:
    """Of a prompt that is repeated to a fixed length they would say three tokens, and be compared in no more."""
    arrays, settings = dict(inputs), Settings(llm_steps=20, sampler_rows=10)
    for stage in (TextTokenizer(), *VOICE, LanguageModel()):
        advance(stage, pair, arrays, settings, 0)
    assert arrays["speech_token"].shape == (1, 20)
    assert arrays["speech_token"].max() < pair.reference.component("llm", "float32").speech_token_size


def _heard(pair: Pair, inputs: dict[str, Any], streaming: Streaming | None = None) -> Heard:
    heard = listen(pair, inputs, Settings(streaming=streaming, n_timesteps=6))
    assert isinstance(heard, Heard), heard
    return heard


@pytest.mark.parametrize("streaming", [None, *STREAMING])
def test_both_sides_are_heard_to_say_the_text(pair: Pair, inputs: dict[str, Any], streaming: Streaming | None) -> None:
    pytest.importorskip("pocketsphinx", reason="NOT CHECKED by ear: pocketsphinx is not installed")
    heard = _heard(pair, inputs, streaming)
    assert heard.mlx.heard == heard.reference.heard == TEXT
    assert heard.verdict is Verdict.PASS
    assert snr_db(heard.mlx.wave, heard.reference.wave) > 60
    assert heard.mlx.similarity == pytest.approx(heard.reference.similarity, abs=1e-3)


def test_a_model_that_says_nothing_is_heard_and_shown(pair: Pair, inputs: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="NOT CHECKED by ear: pocketsphinx is not installed")
    usual = HiFTGenerator.decode

    def silent(self: HiFTGenerator, *arguments: Any) -> Any:
        return usual(self, *arguments) * 0

    with mock.patch.object(HiFTGenerator, "decode", silent):
        heard = _heard(pair, inputs)
    assert (heard.mlx.heard, heard.mlx.word_errors) == ("", 2)
    report = _report(heard)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "heard of MLX: nothing (2 words wrong)" in report.notes()[1]
    assert report.notes()[-1] == "inconclusive: MLX is heard to say other words than PyTorch"


def test_a_model_that_raises_is_inconclusive(pair: Pair, inputs: dict[str, Any]) -> None:
    with mock.patch.object(HiFTGenerator, "decode", side_effect=IndexError("no such frame")):
        heard = _heard(pair, inputs)
    assert heard.verdict is Verdict.INCONCLUSIVE
    assert heard.lines()[-1] == "inconclusive: MLX raised IndexError while it spoke: no such frame"


def _spoken(words: str | None, seconds: float = 0.5) -> Spoken:
    wave = 0.5 * np.sin(np.arange(int(seconds * 24000)) / 20).astype(np.float32)
    return Spoken(wave, 0.75, words, None if words is None else 0)


def _report(heard: Heard | str) -> RunReport:
    """Of a run that passes, as far as layers go."""
    right = np.ones((1, 2))
    layer = judge("hift", "HiFTGenerator", right, right, right, dtype="float32")
    return RunReport([StageReport("vocoder", "Vocoder", "float32", outputs=[layer])], Settings(), heard=heard)


def _shown(heard: Heard | str, folder: Path) -> tuple[dict[str, Any], str]:
    """The run as data, and the page's HTML."""
    report = _report(heard)
    result = data.to_dict(report)
    html.write_html(report, result, folder / "report.html")
    return json.loads(json.dumps(result, allow_nan=False)), (folder / "report.html").read_text()


def test_the_report_shows_words_waves_and_mels(tmp_path: Path) -> None:
    result, page = _shown(Heard("one <two>", 24000, _spoken("one"), _spoken("two")), tmp_path)
    assert result["heard"]["mlx"] == {"heard": "one", "word_errors": 0, "similarity": 0.75}
    assert result["verdict"] == "inconclusive"
    assert "What was said: one &lt;two&gt;" in page
    assert page.count('aria-label="waveform"') == 2
    assert page.count('alt="mel spectrogram') == 3


def test_the_report_stands_without_a_recogniser_or_a_wave(tmp_path: Path) -> None:
    unheard = Heard("one", 24000, _spoken(None), _spoken(None), deaf="no pocketsphinx")
    result, _ = _shown(unheard, tmp_path)
    assert result["verdict"] == "pass"
    assert result["heard"]["deaf"] == "no pocketsphinx"
    assert unheard.lines()[-1] == "nobody listened: no pocketsphinx"
    broken = replace(unheard, mlx=_spoken(None, 0), raised="MLX raised")
    result, page = _shown(broken, tmp_path)
    assert result["verdict"] == "inconclusive"
    assert 'alt="mel spectrogram' not in page


def test_nobody_listens_without_pocketsphinx(pair: Pair, inputs: dict[str, Any]) -> None:
    with mock.patch.dict(sys.modules, {"pocketsphinx": None}):
        heard = _heard(pair, inputs)
    assert heard.mlx.heard is heard.reference.heard is None
    assert "pocketsphinx" in heard.deaf
    assert heard.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "marked", "why"),
    [
        ({}, True, "random weights"),
        ({"text": "hello world"}, False, "does not know all words"),
        ({"transcript": ""}, False, "--transcript"),
    ],
)
def test_where_nothing_can_be_told_it_says_why(change: dict[str, str], marked: bool, why: str, tmp_path: Path) -> None:
    if marked:
        (tmp_path / "synthetic.json").touch()
    family = SimpleNamespace(reads=print)
    reference = SimpleNamespace(checkpoint=tmp_path, family=family, file=lambda name: tmp_path / name)
    nobody: Any = SimpleNamespace(reference=reference)
    found = listen(nobody, {"text": TEXT, "transcript": TRANSCRIPT} | change, Settings())
    assert isinstance(found, str)
    assert why in found
    result, page = _shown(found, tmp_path)
    assert result["heard"] == {"why_not": found}
    assert "What was said" not in page
