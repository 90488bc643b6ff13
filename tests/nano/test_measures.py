"""`python -m parity.nano`: which cases there are, what is kept of them, how they are summed up, and the draws."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.convert import convert
from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.llm import RASSampler
from mlx_cosyvoice.speech.decoders import DECODINGS, Decoders
from mlx_cosyvoice.speech.modes import flow_input
from mlx_cosyvoice.voices import Voice
from parity.nano.__main__ import parse_strings
from parity.nano.bench import Bench
from parity.nano.cases import VOICES, cases
from parity.nano.results import Results
from parity.nano.speaking import say
from parity.nano.summary import alike, criteria, mel_statistics, misheard
from parity.nano.tape import Tape
from parity.nano.weights import weights_of
from reference.nano.words import held_out_strings, written
from tests.support.process import ROOT

PROMPTS = ROOT / "assets/nano/prompts"
TRANSCRIPTS = json.loads((PROMPTS / "transcripts.json").read_text(encoding="utf-8"))


@pytest.fixture
def voice() -> Voice:
    random = np.random.default_rng(0)
    token = random.integers(0, 6561, (1, 30)).astype(np.int32)
    feat, embedding = (random.normal(size=shape).astype(np.float32) for shape in ((1, 60, 80), (1, 192)))
    return Voice(token, feat, embedding, transcript="one two", families=("cosyvoice2",))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.jsonl", "these")


def test_all_voices_say_the_same_and_their_recordings_take_turns() -> None:
    chosen = list(cases(TRANSCRIPTS, VOICES, range(100)))
    said = {voice: [case.words for case in chosen if case.voice == voice] for voice in VOICES}
    assert all(texts == list(held_out_strings()) for texts in said.values())
    assert {sum(case.prompt == name for case in chosen) for name in TRANSCRIPTS if name[:3] in VOICES} <= {
        *range(48, 53)
    }
    assert all(case.variant.held_out and case.variant.voice == case.voice for case in chosen)


@pytest.mark.parametrize(("joined", "count"), [(1, 300), (5, 59)])  # both of a voice are said in one long text
def test_no_recording_says_itself(joined: int, count: int) -> None:
    chosen = list(cases(TRANSCRIPTS, VOICES, range(100), joined))
    assert len(chosen) == count
    assert not [case for case in chosen if TRANSCRIPTS[case.prompt] in written(case.words)]


def test_a_part_of_the_cases_is_the_same_cases() -> None:
    whole = [case.key for case in cases(TRANSCRIPTS, VOICES, range(20))]
    parts = [case.key for part in (range(10), range(10, 20)) for case in cases(TRANSCRIPTS, VOICES, part)]
    assert parts == whole


@pytest.mark.parametrize("text", ["", "0", "7:7", "101", "1:2:3", "x"])
def test_strings_that_there_are_not(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_strings(text)


def test_strings() -> None:
    assert [parse_strings(text) for text in ("20", "20:40", ":5")] == [range(20), range(20, 40), range(5)]


def test_a_run_goes_on_where_it_was_cut(results: Results) -> None:
    results.add("zero-shot", "one", errors=1)
    with results.path.open("a") as file:
        file.write('{"weights": "these", "measure": "zero-')
    again = Results(results.path, "these")
    assert again.of("zero-shot")["one"]["errors"] == 1
    again.add("zero-shot", "two", errors=2)
    assert {*Results(results.path, "these").of("zero-shot")} == {"one", "two"}


def test_other_weights_are_not_read(results: Results) -> None:
    results.add("zero-shot", "one", errors=1)
    other = Results(results.path, "those")
    assert not other.of("zero-shot")
    other.add("zero-shot", "two", errors=1)
    assert {*Results(results.path, "these").of("zero-shot")} == {"one"}


def test_of_another_checkpoint(tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert weights_of(tiny_checkpoint, tiny_model) == weights_of(tiny_checkpoint, tiny_model)
    with pytest.raises(ValueError, match=r"converted from another .* than .*assets/nano has: convert it again"):
        weights_of(ROOT / "assets/nano", tiny_model)


def test_a_checkpoint_that_changes_while_it_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    checkpoint = shutil.copytree(ROOT / "assets/nano", tmp_path / "nano")
    bench = Bench(checkpoint, convert(checkpoint, tmp_path / "model").out, tmp_path)
    with (checkpoint / "hift.pt").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ValueError, match=r"converted from another hift\.pt"):
        _ = bench.reader
    with pytest.raises(ValueError, match=r"converted from another hift\.pt"):
        bench.model("8 bits")


def _add(results: Results, measure: str, errors: list[int], **found: Any) -> None:
    for number, wrong in enumerate(errors):
        results.add(measure, f"slt-1.06.flac {number} 5", words=5, errors=wrong, heard=str(wrong), **found)


def test_words_misheard(results: Results) -> None:
    _add(results, "zero-shot", [0, 1, 2])
    assert misheard(results.of("zero-shot")) == 0.2


def _said_of(results: Results, text: str) -> bool | None:
    (found,) = (one.met for one in criteria(results) if one.text.startswith(text))
    return found


def test_what_was_not_measured_is_neither_met_nor_missed(results: Results) -> None:
    assert {one.met for one in criteria(results)} == {None}


@pytest.mark.parametrize(("errors", "met"), [([0, 1, 1, 0], True), ([0, 1, 1, 1], False)])
def test_a_bound(results: Results, errors: list[int], met: bool) -> None:
    _add(results, "zero-shot", errors)
    assert _said_of(results, "zero-shot <=") is met


def test_a_measure_is_held_against_the_same_cases(results: Results) -> None:
    _add(results, "zero-shot", [1, 0, 0, 0, 0])
    _add(results, "zero-shot-float16", [1])
    assert _said_of(results, "zero-shot, float16,") is True
    _add(results, "zero-shot-float16", [1, 1])
    assert _said_of(results, "zero-shot, float16,") is False


def test_what_pytorch_says(results: Results) -> None:
    _add(results, "zero-shot", [0] * 50)
    _add(results, "zero-shot-pytorch", [1, *[0] * 49])
    assert _said_of(results, "zero-shot: PyTorch") is True
    _add(results, "zero-shot-pytorch", [1, 1, *[0] * 48])
    assert _said_of(results, "zero-shot: PyTorch") is False


def test_whose_voice(results: Results) -> None:
    likeness = {"slt-1.06.flac": 0.2, "slt-0.945.flac": 0.3, "awb-1.06.flac": 0.1}
    _add(results, "zero-shot", [0], likeness=likeness)
    assert alike(results.of("zero-shot")) == (1, 1)
    assert alike(results.of("zero-shot"), recording=True) == (0, 1)
    results.add("zero-shot", "awb-1.06.flac 0 5", words=5, errors=0, likeness=likeness)
    assert alike(results.of("zero-shot")) == (1, 2)


def test_mel_statistics_are_of_all_values_together(results: Results) -> None:
    random = np.random.default_rng(1)
    mels = [(random.normal(-4, 2, (frames, 80)), random.normal(-5, 3, (frames, 80))) for frames in (30, 70)]
    for number, (made, true) in enumerate(mels):
        sides = {
            name: {"mean": mel.mean(), "square": np.square(mel).mean()}
            for name, mel in (("made", made), ("true", true))
        }
        rms = float(np.sqrt(np.square(made - true).mean()))
        results.add("mel", f"slt {number}", frames=len(made), rms=rms, **sides)
    made, true = (np.concatenate(side) for side in zip(*mels, strict=True))
    expected = {
        "mean": made.mean(),
        "true_mean": true.mean(),
        "std": made.std(),
        "true_std": true.std(),
        "rms": np.sqrt(np.square(made - true).mean()),
    }
    assert mel_statistics(results.of("mel")) == pytest.approx(expected)


def test_the_draws_are_the_packages(tts: CosyVoice2, voice: Voice) -> None:
    assert tts.llm is not None
    sampler = RASSampler(tts.llm.config.sampling, Tape(7).uniforms())
    drawn, other, own = (
        list(tts.speech_tokens("three four", voice, max_token_text_ratio=6, **options))
        for options in ({"sampler": sampler}, {"seed": 8}, {"seed": 7})
    )
    assert drawn == own != other


@pytest.mark.parametrize("decoding", DECODINGS)
def test_what_is_said_of_tokens_is_what_the_package_says(tts: CosyVoice2, voice: Voice, decoding: str) -> None:
    assert tts.flow is not None
    assert tts.hift is not None
    options: dict[str, Any] = {"seed": 3, "min_token_text_ratio": 20}
    tokens = list(tts.speech_tokens("one two three", voice, **options))
    decoder = Decoders(tts.flow, tts.hift).get(decoding, speed=1, n_timesteps=2)
    said = say(decoder, flow_input(voice), tokens, Tape(3).noise())
    own = tts.synthesize("one two three", voice, decoding=decoding, n_timesteps=2, **options)
    np.testing.assert_array_equal(said.wave, own)
    assert said.mel.shape == (2 * len(tokens), 80)
