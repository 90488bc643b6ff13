"""The parity stage of the streaming loop: when it runs, and what it says of a broken one."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from mlx_cosyvoice.decoding import OfficialDecoder
from mlx_parity.compare import Verdict
from parity.faults import choose
from parity.pair import Pair, load_pair
from parity.report.measures import measures_line
from parity.run import run
from parity.search import ReferenceCapture
from parity.stages import Settings, choose_stages
from parity.stages.base import Streaming
from tests.support.recordings import short_inputs

SETTINGS = Settings(streaming="official", llm_steps=4, n_timesteps=1)


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


@pytest.fixture(scope="module")
def capture(pair: Pair) -> ReferenceCapture:
    return ReferenceCapture(pair, short_inputs(), stages=["streaming"], settings=SETTINGS)


def test_the_stage_exists_in_streaming_alone() -> None:
    modes: tuple[Streaming | None, ...] = (None, "official", "incremental")
    offline, official, incremental = (
        [stage.name for stage in choose_stages(None, Settings(streaming=streaming))] for streaming in modes
    )
    streamed = [name for name in offline if name not in ("speech", "generation", "vocoder_loud", "offline")]
    assert official == [*streamed, "streaming"]
    replaced = ("flow_encoder", "flow_decoder")
    kept = [name for name in streamed if name not in replaced]
    assert incremental == [*kept, "flow_pieces", "flow_left_context", "incremental"]
    assert [stage.name for stage in choose_stages(["streaming"], SETTINGS)] == ["streaming"]
    with pytest.raises(ValueError, match="streaming: there is no such stage without --streaming"):
        choose_stages(["vocoder", "streaming"], Settings())


def test_the_free_run_parts_at_the_first_seam(pair: Pair) -> None:
    """A new source in every chunk: what the first chunk does and hands on is right, the second goes wrong."""
    (fault,) = choose(["stream-source-cache"])
    with fault.switch(pair):
        (stage,) = run(pair, short_inputs(), stages=["streaming"], settings=SETTINGS).stages
    assert stage.verdict is Verdict.DIVERGED
    verdicts = {layer.path: layer.verdict for layer in stage.outputs}
    assert verdicts["hop1.wav"] is verdicts["hop1.source_cache"] is Verdict.PASS
    assert verdicts["hop2.vocoder_source"] is verdicts["hop2.wav_seam"] is Verdict.DIVERGED
    assert stage.measures["streaming"]["seam_error"][0] > 1e-2
    line = measures_line(stage)
    assert line is not None
    assert "seams at sample" in line


def test_a_loop_that_raises_is_blamed(pair: Pair, capture: ReferenceCapture) -> None:
    with mock.patch.object(OfficialDecoder, "due", side_effect=RuntimeError("no idea")):
        report = capture.localise(pair)
    (culprit,) = report.culprits
    assert (culprit.module, culprit.kind) == ("streaming", "glue")
    assert "RuntimeError: no idea" in culprit.evidence[0]


def test_a_faulty_network_is_not_blamed_on_the_loop(pair: Pair, capture: ReferenceCapture) -> None:
    (fault,) = choose(["leaky-slope-after"])
    with fault.switch(pair):
        report = capture.localise(pair)
    (culprit,) = report.culprits
    assert (culprit.module, culprit.inferred) == ("hift", True)
    assert report.verdict is Verdict.DIVERGED
