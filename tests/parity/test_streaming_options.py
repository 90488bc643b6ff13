"""The report on what bounding the incremental flow's state costs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from parity.__main__ import main
from parity.drift.streaming_state import Option, OptionsReport, measure, parse_option
from tests.support.incremental import prompt, speech, whole

OPTIONS = ("float16", "bfloat16", "1", "9", "float16:1")


@cache
def report() -> OptionsReport:
    return measure(whole("tiny"), prompt(60), speech(120), [parse_option(text) for text in OPTIONS], n_timesteps=2)


def test_every_chunk_and_every_state_is_reported() -> None:
    """15 tokens fill the prompt's third chunk; then 4 chunks of 25, and 5 tokens."""
    for option in (report().exact, *report().options):
        assert len(option.max_abs) == len(option.rms) == len(option.state_bytes) == 6
    assert max(report().whole_max_abs) < 1e-4
    assert max(report().exact.max_abs) == 0
    assert report().mel_std > 1


def test_errors_are_in_their_order() -> None:
    half, rough, near, far, both = report().options
    assert 0 < max(half.max_abs) < max(rough.max_abs) < max(near.max_abs)
    assert max(far.max_abs) < 1e-4  # nine chunks hold all of this
    assert max(both.max_abs) == pytest.approx(max(near.max_abs), rel=0.2)
    assert near.max_abs[0] > 1e-3  # it attends to one of the prompt's two other chunks


@pytest.mark.slow
def test_state_sizes_are_those_of_the_options() -> None:
    """Of 27 chunks; a left context of one holds up to two rooms of four."""
    options = [parse_option(text) for text in ("float16", "1", "float16:1")]
    sized = measure(whole("tiny"), prompt(60), speech(600), options, n_timesteps=1)
    exact, half, near, both = (option.state_bytes for option in (sized.exact, *sized.options))
    assert list(exact) == sorted(exact)
    assert half[-1] == pytest.approx(exact[-1] / 2, rel=0.05)
    assert max(near) < exact[-1] / 2
    assert both[-1] == pytest.approx(near[-1] / 2, rel=0.1)


@pytest.mark.parametrize(
    ("text", "option"),
    [("float16", Option("float16")), ("8", Option("float32", 8)), ("bfloat16:0", Option("bfloat16", 0))],
)
def test_options_are_read(text: str, option: Option) -> None:
    assert parse_option(text) == option


@pytest.mark.parametrize("text", ["", "float64", "float16:", "float16:-1", "8:float16", "float16:x", "-1"])
def test_options_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not DTYPE, CHUNKS or DTYPE:CHUNKS"):
        parse_option(text)


def test_the_command_prints_and_writes(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "streaming.json"
    how = ["--options", "float16:1", "--prompt-seconds", "1", "--seconds", "2.4", "--euler-steps", "1"]
    assert main(["streaming", "--model", str(tiny_model), "--json", str(file), *how]) == 0
    shown = capsys.readouterr().out
    assert "float16, 1 chunks back" in shown
    written = json.loads(file.read_text())
    assert written["options"][0]["option"] == {"state_dtype": "float16", "left_context_chunks": 1}
    assert len(written["options"][0]["max_abs"]) == 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (["--options", "float64"], "option 'float64'"),
        (["--prompt-seconds", "29"], "fewer than --prompt-seconds"),
        (["--seconds", "0"], "--seconds must be more than 0"),
    ],
)
def test_arguments_that_make_no_sense_are_told(
    tiny_model: Path, capsys: pytest.CaptureFixture, how: list[str], message: str
) -> None:
    assert main(["streaming", "--model", str(tiny_model), *how]) == 2
    assert message in capsys.readouterr().err
