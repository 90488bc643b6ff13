"""The harness names every mistake of the catalogue. The tests have a quick choice of them; `-m slow` tries the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from typing import Any

import mlx.core as mx
import pytest
from rich.console import Console

from mlx_cosyvoice.flow import estimator
from parity.__main__ import main
from parity.compare import Verdict
from parity.faults import FAULTS, Fault, choose
from parity.faults.base import behaving, calling, modules_at, patched, setting
from parity.faults.trial import LLM_STEPS, Bench
from parity.findings import KINDS
from parity.localization.search import ReferenceCapture
from parity.pair import Pair
from parity.report.culprits import print_culprits, to_dict
from parity.stages import STAGES, Settings, features

QUICK = (
    "text-gpt2-words",
    "resampler-roll-off",
    "fsq-base-order",
    "kv-head-order",
    "sampler-exchange",
    "pos-bias-swapped",
    "decoder-mask",
    "snake-square",
    "stream-window",
)


@pytest.fixture(scope="module", autouse=True)
def healthy_model(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--fault"):
        pytest.skip("these tests switch faults on by themselves, in a healthy model")


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, pair: Pair, inputs: dict[str, Any]) -> Bench:
    """The captured reference, for those faults that this session tries."""
    params = (getattr(item, "callspec", None) for item in request.session.items)
    chosen = {param.params["fault"] for param in params if param and "fault" in param.params}
    return Bench(pair, inputs, [fault for fault in FAULTS if fault in chosen])


@pytest.fixture(scope="module")
def capture(pair: Pair, inputs: dict[str, Any]) -> ReferenceCapture:
    return ReferenceCapture(pair, inputs, stages=["llm", "vocoder"], settings=Settings(llm_steps=LLM_STEPS))


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.name, marks=() if f.name in QUICK else pytest.mark.slow) for f in FAULTS],
)
def test_fault_is_named(bench: Bench, fault: Fault) -> None:
    trial = bench.try_fault(fault)
    assert trial.exact, f"{fault.mistake}\n  {trial.reason}"


def test_healthy_model_is_not_blamed(pair: Pair, capture: ReferenceCapture) -> None:
    report = capture.localise(pair)
    assert report.verdict is Verdict.PASS
    assert not report.culprits


def test_two_faults_are_both_named_in_data_flow_order(pair: Pair, capture: ReferenceCapture) -> None:
    faults = choose(["f0-without-abs", "kv-head-order"])
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault.switch(pair))
        report = capture.localise(pair)
    layers = "llm.llm.model.model.layers"
    named = [culprit.module for culprit in report.culprits]
    assert named == [f"{layers}.0.self_attn", f"{layers}.1.self_attn", "hift.f0_predictor"]


def test_a_module_that_raises_is_named(pair: Pair, capture: ReferenceCapture) -> None:
    def broken(self: Any, x: mx.array) -> mx.array:
        raise ValueError("no such shape")

    path = "llm.llm.model.model.layers.1.mlp.act_fn"
    with behaving(modules_at(pair, path), broken):
        report = capture.localise(pair)
    (culprit,) = report.culprits
    assert (culprit.module, culprit.kind) == (path, "leaf")
    assert "ValueError: no such shape" in culprit.evidence[0]
    assert report.unobserved, "what comes after the exception was not seen"


def test_a_faulty_stage_is_compared_freely_as_well(pair: Pair, capture: ReferenceCapture) -> None:
    (fault,) = choose(["f0-without-abs"])
    with fault.switch(pair):
        report = capture.localise(pair)
    (vocoder,) = (stage for stage in report.stages if stage.name == "vocoder")
    assert vocoder.measures["f0_error_hz"] > 0


def test_a_wrong_mask_is_the_first_thing_one_reads(pair: Pair, inputs: dict[str, Any]) -> None:
    settings = Settings(streaming="official", llm_steps=40)  # long enough for a chunk border in the new mel
    (fault,) = choose(["decoder-mask"])
    capture = ReferenceCapture(pair, inputs, stages=["flow_decoder"], settings=settings)
    with fault.switch(pair):
        report = capture.localise(pair)
    text = StringIO()
    print_culprits(report, Console(file=text, width=400))
    lines = [line.strip() for line in text.getvalue().splitlines() if line.strip()]
    assert lines[0] == "verdict: DIVERGED, 1 culprit (streaming)"
    block = "flow.decoder.estimator.down_blocks.0.1.0"
    assert lines[1] == f"1. flow.decoder passes a wrong value as argument `mask` of {block}"
    assert "its argument `mask` is None" in lines[3]
    assert re.search(r"mel: MLX mean .*, std .*, range .*; reference mean .*, std .*, range ", text.getvalue())
    assert re.search(r"worst of \d+ seams? at frame", text.getvalue())
    (culprit,) = json.loads(json.dumps(to_dict(report)))["culprits"]
    assert (culprit["module"], culprit["argument"]) == ("flow.decoder", "mask")


def test_who_raises_on_what_a_wrong_caller_hands_on_is_not_blamed(pair: Pair, inputs: dict[str, Any]) -> None:
    settings = Settings(llm_steps=4, n_timesteps=2)  # within the second step no module is fed
    capture = ReferenceCapture(pair, inputs, stages=["flow_decoder"], settings=settings)
    with calling(estimator, "mx", concatenate=lambda arrays, axis: mx.concatenate(arrays, axis=0)):
        report = capture.localise(pair)
    assert [culprit.module for culprit in report.culprits] == ["flow.decoder.estimator"]


def test_a_wrong_weight_explains_that_something_raises_behind_it(pair: Pair, capture: ReferenceCapture) -> None:
    path = "llm.llm.model.model.layers.1.self_attn.v_proj"
    with setting(modules_at(pair, path), weight=lambda weight: weight * float("nan")):
        report = capture.localise(pair, stages=["llm"])
    assert [culprit.module for culprit in report.culprits] == [path]


def test_exchanged_weights_are_not_the_fault_of_a_loop_that_looks_them_up(pair: Pair, inputs: dict[str, Any]) -> None:
    capture = ReferenceCapture(pair, inputs, stages=["generation"])
    paths = ["llm.llm_decoder", "llm.speech_embedding"]
    decoder, embedding = modules_at(pair, *paths)
    weights = decoder.weight, embedding.weight
    with setting([decoder], weight=weights[1]), setting([embedding], weight=weights[0]):
        report = capture.localise(pair)
    assert sorted(culprit.module for culprit in report.culprits) == paths


def test_an_output_that_never_comes_is_wrong(pair: Pair, inputs: dict[str, Any]) -> None:
    capture, made = ReferenceCapture(pair, inputs, stages=["audio_features"]), features._of_package
    with patched(features, "_of_package", lambda *sides: {"log_mel": made(*sides)["log_mel"]}):
        report = capture.localise(pair)
    assert {culprit.module for culprit in report.culprits} == {"audio_features.fbank", "audio_features.prompt_mel"}
    assert report.verdict is Verdict.DIVERGED


def test_a_loop_is_not_blamed_for_what_its_network_raises(pair: Pair, inputs: dict[str, Any]) -> None:
    def broken(self: Any, x: mx.array) -> mx.array:
        raise ValueError("no such shape")

    path = "flow.encoder.after_norm"
    capture = ReferenceCapture(
        pair, inputs, stages=["flow_pieces", "incremental"], settings=Settings(streaming="incremental", llm_steps=4)
    )
    with behaving(modules_at(pair, path), broken):
        both, alone = capture.localise(pair), capture.localise(pair, stages=["incremental"])
    assert [culprit.module for culprit in both.culprits] == [path]
    assert [(culprit.module, culprit.within) for culprit in alone.culprits] == [("incremental", "flow")]


def test_stages_can_be_chosen(pair: Pair, capture: ReferenceCapture) -> None:
    assert [stage.name for stage in capture.localise(pair, stages=["llm"]).stages] == ["llm"]


def _state(pair: Pair) -> Iterator[tuple[Any, ...]]:
    """What every module of the model is and holds; MLX keeps its arrays and children as items of a dict."""
    for component in pair.model.family.names:
        for path, module in getattr(pair.model, component).named_modules():
            held = {name: id(value) for name, value in {**vars(module), **module}.items() if not name.startswith("_")}
            yield component, path, type(module), held
    assert pair.model.text_tokenizer is not None
    yield id(pair.model.text_tokenizer._tokenizer), type(pair.model.llm)


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_a_fault_leaves_no_trace(pair: Pair, name: str) -> None:
    (fault,) = choose([name])
    before = list(_state(pair))
    with fault.switch(pair):
        pass
    assert list(_state(pair)) == before


def test_catalogue(pair: Pair) -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 40
    assert {fault.stage for fault in FAULTS} == {stage.name for stage in STAGES}
    for fault in FAULTS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.name)
        assert fault.mistake.endswith(".")
        assert fault.kind in KINDS
        assert fault.expected_modules(pair)


def test_command_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(fault.name in out for fault in FAULTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "decoder-mask,nonsense"], "no such fault: nonsense; there are: "),
        (["--checkpoint", "somewhere"], "--checkpoint and --model go together"),
    ],
)
def test_command_refuses_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["faults", *arguments]) == 2
    assert message in capsys.readouterr().err
