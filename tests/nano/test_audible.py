"""`python -m parity faults --audible`: how faults are made to be heard, and what the page says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from converters.convert import convert
from mlx_cosyvoice.decoding import IncrementalDecoder, OfficialDecoder
from parity.faults import choose
from parity.faults.audible.listener import Listener
from parity.faults.audible.table import grave, markdown
from parity.faults.audible.trials import FAULTY, HEALTHY, try_all
from parity.faults.audible.ways import ARRIVING, CLONED, GENERATED, OFFLINE, way_of
from parity.nano.results import Results
from tests.support.process import ROOT

FAULTS = choose(None, "cosyvoice2")
SAME = {"mean": -4.0, "std": 2.0, "distance": 0.0, "errors": 1, "words": 20, "likeness": 0.5, "heard": ["one"]}


def test_a_fault_that_shows_while_streaming_is_heard_streaming() -> None:
    ways = {(fault.streaming, way_of(fault)) for fault in FAULTS if fault.streaming}
    assert {(streaming, way.joined) for streaming, way in ways} == {("official", True), ("incremental", True)}
    decoders = {streaming: way.decoder for streaming, way in ways if way.name.endswith("streaming")}
    assert decoders == {"official": OfficialDecoder, "incremental": IncrementalDecoder}


@pytest.mark.parametrize(
    ("name", "way"),
    [("fsq-tanh", CLONED), ("rope-base", GENERATED), ("task-id-missing", ARRIVING), ("cfg-rate", OFFLINE)],
)
def test_what_a_fault_touches_is_made_anew(name: str, way: Any) -> None:
    assert way_of(choose([name], "cosyvoice2")[0]) is way


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Of four faults: one is misheard, one sounds otherwise, one is not heard, one raises."""
    results = Results(tmp_path / "results.jsonl", "these")
    results.add(HEALTHY, OFFLINE.name, **SAME)
    found: dict[str, dict[str, Any]] = {
        "cfg-order": {"distance": 3.0},
        "linear-time": {},
        "cfg-rate": {"errors": 5, "distance": 1.0, "heard": ["two"]},
        "decoder-mask": {"distance": 2.0, "mean": -3.0, "errors": 2},
    }
    for name, changed in found.items():
        results.add(FAULTY, name, way=OFFLINE.name, **{**SAME, **changed})
    results.add(FAULTY, "cfg-sign", way=OFFLINE.name, raised="ValueError: no such | shape")
    return results


def test_the_page_begins_with_what_is_noticed_most(results: Results) -> None:
    page = markdown(results, FAULTS)
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")]
    assert rows[-3:] == ["| cfg-rate", "| decoder-mask", "| cfg-order"]
    assert "Nothing to hear: linear-time." in page
    assert "cfg-sign (ValueError: no such | shape)" in page
    assert "mean -3.00 against -4.00" in page
    assert grave(results) == ["cfg-rate"]


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    pytest.importorskip("pocketsphinx")
    checkpoint = ROOT / "assets/nano"
    return Listener(checkpoint, convert(checkpoint, tmp_path_factory.mktemp("nano") / "model").out)


def test_a_fault_is_heard_and_leaves_nothing_behind(listener: Listener, tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl", "these")
    try_all(listener, results, choose(["cfg-rate", "istft-normalization"], "cosyvoice2"))
    healthy, found = results.of(HEALTHY)[OFFLINE.name], results.of(FAULTY)
    assert all(found[name]["distance"] > 0.1 for name in ("cfg-rate", "istft-normalization"))
    assert found["istft-normalization"]["mean"] == healthy["mean"] != found["cfg-rate"]["mean"]
    again = listener.notices(listener.speak(OFFLINE), listener.healthy(OFFLINE))
    assert again == {name: healthy[name] for name in again}
    assert again["distance"] == 0


def test_a_fault_that_raises_is_written_down(listener: Listener, tmp_path: Path, monkeypatch: Any) -> None:
    def speak(way: Any) -> None:
        raise IndexError("no such place\nin the code")

    listener.healthy(OFFLINE)
    monkeypatch.setattr(listener, "speak", speak)
    results = Results(tmp_path / "results.jsonl", "these")
    try_all(listener, results, choose(["cfg-rate"], "cosyvoice2"))
    assert results.of(FAULTY)["cfg-rate"]["raised"] == "IndexError: no such place"


def test_a_fault_of_what_the_model_lacks_is_not_one_that_raises(listener: Listener, tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl", "these")
    try_all(listener, results, choose(["resblock-dilation"], "cosyvoice2"))
    assert results.of(FAULTY)["resblock-dilation"]["raised"].startswith("cannot be made here: no module")
