"""The parity stage of the streaming loop: when it runs, and what it says of a broken one."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from mlx_cosyvoice.decoding import OfficialDecoder
from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from mlx_cosyvoice.vocoder.resblock import ResBlock
from mlx_parity.compare import Verdict, relative_rms
from parity.faults import choose
from parity.faults.base import edited
from parity.pair import Pair, load_pair
from parity.report.measures import measures_line
from parity.run import run
from parity.search import ReferenceCapture
from parity.stages import Outputs, Settings, Sides, choose_stages
from parity.stages.base import Streaming
from parity.stages.streaming import Streaming as StreamingStage
from parity.stages.streaming_hops import Hop, Stream
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


def test_what_f0_leans_to_is_carried_on_through_the_hops() -> None:
    exact, wav = np.full((1, 40), 200.0), np.random.default_rng(0).standard_normal((1, 800))
    noise = 1e-3 * np.random.default_rng(1).standard_normal(wav.shape)

    def made(f0: np.ndarray | None, wave: np.ndarray) -> Outputs:
        nothing = np.zeros((1, 1))
        hop = Hop((nothing, True, False, 2), nothing, (nothing, None), (nothing, nothing), wave, (), f0)
        return Outputs({"hop1.wav": wave, "hop2.wav_seam": wave}, details=Stream([hop]))

    cancelling, leaning = exact + 1e-4 * (-1.0) ** np.arange(40), exact + 1e-4
    expected, right, stage = made(cancelling, wav + noise), made(exact, wav), StreamingStage()
    floor = relative_rms(wav + noise, wav)
    sides = Sides(made(leaning, wav), expected, right)
    assert stage.carried("hop1.wav", sides) == stage.carried("hop2.wav_seam", sides) > 10 * floor
    assert stage.carried("hop1.wav", Sides(expected, expected, right)) == pytest.approx(floor)
    assert stage.carried("hop1.vocoder_mel_new", sides) == 0
    assert stage.carried("hop1.wav", Sides(made(exact + 2e-3, wav), expected, right)) == 0
    assert stage.carried("hop1.wav", Sides(made(None, wav), expected, right)) == 0
    assert stage.carried("hop1.wav", Sides(Outputs(), expected, right)) == 0


@pytest.fixture(scope="module")
def causal(tiny_checkpoint3: Path, tiny_model3: Path) -> Pair:
    return load_pair(tiny_checkpoint3, tiny_model3)


@pytest.fixture(scope="module")
def causal_capture(causal: Pair) -> ReferenceCapture:
    return ReferenceCapture(causal, short_inputs(), stages=["streaming"], settings=SETTINGS)


@pytest.mark.parametrize(
    ("function", "right", "wrong", "culprit"),
    [
        (CausalVocoder.step, "Cache(state.cache)", "Cache(None)", "streaming.vocoder_state"),
        (CausalVocoder.step, ", cache=cache)", ")", "streaming.vocoder_state"),
        (CausalVocoder.step, "finalize=final, cache", "finalize=True, cache", "streaming.held_back"),
        (
            CausalHiFTGenerator.decode,
            "held_back(mel.astype(outer_dtype(self.conv_pre)), self.conv_pre.reach, finalize, cache)",
            "held_back(mel.astype(outer_dtype(self.conv_pre)), self.conv_pre.reach, True, cache)",
            "hift",
        ),
        (CausalHiFTGenerator._samples, "cache.remember(\n", "cache.remember(0.99 * \n", "hift"),
        (CausalHiFTGenerator.upsampled, "self.ups[level](x, cache)", "self.ups[level](x, None)", "hift"),
        (
            CausalHiFTGenerator.__call__,
            "self.f0_predictor(known, context, cache)",
            "self.f0_predictor(known, context)",
            "hift",
        ),
    ],
    ids=[
        "the-state-of-a-hop-dropped",
        "no-state",
        "every-hop-final",
        "nothing-held-back",
        "overlap-quieter",
        "ups-forget",
        "f0-forgets",
    ],
)
def test_a_causal_vocoder_is_judged_on_what_the_reference_gave_it(
    causal: Pair, causal_capture: ReferenceCapture, function: object, right: str, wrong: str, culprit: str
) -> None:
    with edited(function, right, wrong):
        report = causal_capture.localise(causal)
    assert [one.module for one in report.culprits] == [culprit]
    assert report.verdict is Verdict.DIVERGED


def test_who_drops_the_state_is_blamed_and_not_who_is_without_it(
    causal: Pair, causal_capture: ReferenceCapture
) -> None:
    with edited(ResBlock.__call__, "conv1(act1(x), cache)", "conv1(act1(x), None)"):
        report = causal_capture.localise(causal)
    assert {(one.module.rpartition(".")[0], one.kind) for one in report.culprits} == {
        ("hift.resblocks", "glue"),
        ("hift.source_resblocks", "glue"),
    }


def test_a_causal_vocoder_that_is_right_passes(causal: Pair, causal_capture: ReferenceCapture) -> None:
    assert causal_capture.localise(causal).verdict is Verdict.PASS
