"""`python -m parity.nano choices`: options are held against the first of their group, and against offline decoding."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.decoding import IncrementalDecoder
from mlx_cosyvoice.prompt import Prompt
from parity.nano import choices
from parity.nano.__main__ import parse
from parity.nano.cases import Case
from parity.nano.measures import MEASURES
from parity.nano.options import GROUPS, Group
from parity.nano.results import Results
from parity.nano.weights import PRECISIONS

CASE = Case("awb-1.06.flac", 0, ("one", "two"))


class Speaker(SimpleNamespace):
    """What `choices` asks a bench for, of a model whose speech is noise."""

    def __init__(self, tts: CosyVoice2) -> None:
        random = np.random.default_rng(0)
        feat, embedding = (mx.array(random.normal(size=shape).astype(np.float32)) for shape in ((1, 20, 80), (1, 192)))
        super().__init__(tts=tts, loaded=[], voice=Prompt(mx.array(random.integers(0, 6561, (1, 10))), feat, embedding))

    def model(self, precision: str) -> CosyVoice2:
        self.loaded.append(precision)
        return self.tts

    def prompt(self, precision: str, name: str) -> Prompt:
        return self.voice

    def tokens(self, case: Case) -> np.ndarray:
        return np.arange(60)

    def heard(self, wave: np.ndarray, rate: int, case: Case) -> dict[str, Any]:
        return {"heard": "one", "errors": 1, "audio": len(wave) / rate}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.jsonl", "these")


def _judged(tts: CosyVoice2, results: Results, group: Group) -> list[dict[str, Any]]:
    choices._judge_case(Speaker(tts), results, group, CASE)  # type: ignore[arg-type]
    return [results.of(group.measure(option))[CASE.key] for option in group.options]


def test_steps_are_held_against_ten(tts: CosyVoice2, results: Results) -> None:
    ten, six, four = _judged(tts, results, GROUPS["steps"])
    assert ten["from_first"] == ten["from_offline"] == 0
    assert 0 < six["from_first"] < four["from_first"]
    assert six["from_offline"] == six["from_first"]


def test_streaming_is_held_against_offline_too(tts: CosyVoice2, results: Results) -> None:
    causal, full = _judged(tts, results, GROUPS["last-chunk"])
    assert causal["from_first"] == 0 < min(causal["from_offline"], full["from_first"], full["from_offline"])


def test_what_was_judged_is_not_judged_again(tts: CosyVoice2, results: Results) -> None:
    group = GROUPS["steps"]
    _judged(tts, results, group)
    bench = Speaker(tts)
    choices._judge_case(bench, results, group, CASE)  # type: ignore[arg-type]
    assert not bench.loaded


def test_the_first_left_context_is_unlimited(tts: CosyVoice2) -> None:
    decoders = [option.decoder(tts.flow, tts.hift) for option in GROUPS["left-context"].options if option.decoder]
    assert all(isinstance(decoder, IncrementalDecoder) for decoder in decoders)
    assert [decoder.flow.left_context_chunks for decoder in decoders] == [None, 16, 8, 4, 2]  # type: ignore[attr-defined]


def test_options_name_what_there_is() -> None:
    options = [option for group in GROUPS.values() for option in group.options]
    assert {option.measure for option in options if option.measure} <= {*MEASURES}
    assert {option.precision for option in options} <= {*PRECISIONS}
    assert all(bool(option.measure) != bool(option.decoder) for option in options)


def test_the_page_has_the_groups_that_were_judged(tts: CosyVoice2, results: Results) -> None:
    _judged(tts, results, GROUPS["steps"])
    results.add("zero-shot", "slt-1.06.flac 0 5", words=5, errors=1, seconds=1.0)
    page = choices.markdown(results)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Euler steps",
        "## Precision, zero-shot",
    ]
    assert "| 10 | 50.0% | 2 | 0 | 0 |" in page
    assert "| float32 | 20.0% | 5 |  |  |" in page


def test_options_are_compared_in_the_cases_that_all_have(results: Results) -> None:
    for number, errors in enumerate([5, 0]):
        results.add("zero-shot", f"slt-1.06.flac {number} 5", words=5, errors=errors, seconds=1.0)
    results.add("zero-shot-4bit", "slt-1.06.flac 1 5", words=5, errors=1, seconds=1.0)
    page = choices.markdown(results)
    assert "| float32 | 0.0% | 5 |" in page
    assert "| 4 bits (language model) | 20.0% | 5 |" in page


def test_both_commands_have_arguments_of_their_own() -> None:
    assert parse(["choices", "--model", "m", "--texts", "2"]).texts == 2
    assert parse(["--model", "m", "--measures", "mel"]).measures == ["mel"]
    with pytest.raises(SystemExit):
        parse(["--model", "m", "--texts", "2"])
